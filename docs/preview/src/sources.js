// Prometheus and Jaeger, asked as Grafana's data sources ask them.
import { sceneGraph } from '@grafana/scenes';
import { from } from 'rxjs';

const SCRAPE = 5; // Seconds: `timeInterval` of the provisioned data source.

const sceneOf = (variables) => variables?.__sceneObject?.value?.valueOf?.();

/** A text with the dashboard's variables filled in; those of intervals are filled in later. */
function filled(request, text, format) {
  const { __interval, __interval_ms, ...variables } = request.scopedVars ?? {};
  const scene = sceneOf(variables);
  return scene ? sceneGraph.interpolate(scene, text, variables, format) : text;
}

const escaped = (value) => String(value).replace(/\\/g, '\\\\\\\\').replace(/[$^*{}[\]'+?.()|]/g, '\\\\$&');

/** How the values of a variable stand in PromQL: as a regular expression, where there may be several. */
function inPromQL(value, variable) {
  if (!variable?.multi && !variable?.includeAll) return String(value).replace(/\\/g, '\\\\').replace(/"/g, '\\"');
  if (typeof value === 'string') return escaped(value);
  const values = value.map(escaped);
  return values.length === 1 ? values[0] : `(${values.join('|')})`;
}

const NUMBERS = { NaN: NaN, '+Inf': Infinity, '-Inf': -Infinity };
const number = (text) => NUMBERS[text] ?? Number(text);

async function asked(path, parameters, method = 'POST') {
  const query = new URLSearchParams(parameters);
  const answer = await (method === 'GET' ? fetch(`/prom${path}?${query}`) : fetch(`/prom${path}`, { method, body: query }));
  const found = await answer.json();
  if (found.status !== 'success') throw new Error(`${found.error}: ${parameters.query}`);
  return found.data;
}

class Source {
  constructor(type) {
    const meta = { id: type, name: type, info: { logos: { small: '', large: '' } }, metrics: true, annotations: true, mixed: type === 'mixed' };
    const isDefault = type === 'prometheus';
    this.settings = { id: isDefault ? 1 : 2, uid: type, name: type, type, isDefault, jsonData: {}, access: 'proxy', readOnly: true, meta };
    Object.assign(this, { name: type, uid: type, type, id: this.settings.id, meta, interval: `${SCRAPE}s` });
  }
  getRef() {
    return { type: this.type, uid: this.uid };
  }
  query(request) {
    return from(this.run(request));
  }
}

class Prometheus extends Source {
  async run(request) {
    const frames = (await Promise.all(request.targets.map((target) => this.#ask(target, request)))).flat();
    const buckets = frames.filter((each) => each.bucket !== undefined).sort((one, other) => one.bucket - other.bucket);
    for (let index = buckets.length - 1; index > 0; index--) {
      const below = buckets[index - 1].fields[1].values; // Of each bucket what is not in the one below.
      buckets[index].fields[1].values = buckets[index].fields[1].values.map((each, at) => each === null ? null : Math.max(0, each - (below[at] ?? 0)));
    }
    return { data: [...buckets, ...frames.filter((each) => each.bucket === undefined)] };
  }

  async #ask(target, request) {
    const [begin, finish] = [request.range.from.valueOf() / 1000, request.range.to.valueOf() / 1000];
    const step = Math.max(request.intervalMs / 1000, SCRAPE);
    const times = { __rate_interval: `${Math.max(step + SCRAPE, 4 * SCRAPE)}s`, __interval_ms: `${step * 1000}`, __interval: `${step}s`, __range: `${Math.round(finish - begin)}s` };
    const query = filled(request, target.expr, inPromQL).replace(/\$(__\w+)/g, (whole, name) => times[name] ?? whole);
    if (!target.range) {
      const { result } = await asked('/api/v1/query', { query, time: finish });
      if (target.format === 'table') return [rows(target, result, request.targets.length > 1)];
      return result.map(({ metric, value }) => series(target, metric, [value[0] * 1000], [number(value[1])]));
    }
    const [start, end] = [Math.floor(begin / step) * step, Math.floor(finish / step) * step];
    const { result } = await asked('/api/v1/query_range', { query, start, end, step });
    const moments = Array.from({ length: Math.round((end - start) / step) + 1 }, (_, index) => start + index * step);
    const found = result.map(({ metric, values }) => {
      const known = new Map(values.map(([at, value]) => [at, number(value)]));
      return series(target, metric, moments.map((at) => at * 1000), moments.map((at) => known.get(at) ?? null));
    });
    return target.exemplar ? [...found, await exemplars(target, query, start, end)] : found;
  }

  async metricFindQuery(query, { scopedVars, range }) {
    const [, selector, label] = /^label_values\((.*),\s*(\w+)\)$/s.exec(query.query ?? query);
    const match = filled({ scopedVars }, selector, inPromQL);
    const times = range ? { start: range.from.valueOf() / 1000, end: range.to.valueOf() / 1000 } : {};
    const values = await asked(`/api/v1/label/${label}/values`, { 'match[]': match, ...times }, 'GET');
    return values.map((text) => ({ text, value: text }));
  }
}

function series(target, { __name__, ...labels }, times, values) {
  const shown = target.legendFormat && target.legendFormat !== '__auto';
  const all = Object.entries(labels).map(([name, value]) => `${name}="${value}"`);
  const isBucket = target.format === 'heatmap';
  const legend = shown ? target.legendFormat.replace(/\{\{\s*(.+?)\s*\}\}/g, (_, label) => labels[label] ?? '') : all.length ? `{${all.join(', ')}}` : target.expr;
  const name = isBucket ? labels.le : legend;
  const interval = times.length > 1 ? times[1] - times[0] : 0;
  return {
    refId: target.refId,
    name,
    ...(isBucket ? { bucket: number(labels.le) } : {}),
    fields: [
      { name: 'Time', type: 'time', config: { interval }, values: times },
      { name: isBucket ? name : 'Value', type: 'number', labels, config: { displayNameFromDS: name }, values },
    ],
  };
}

function rows(target, result, several) {
  if (!result.length) return { refId: target.refId, fields: [] };
  const labels = [...new Set(result.flatMap(({ metric }) => Object.keys(metric)))].sort();
  const column = (name) => ({ name, type: 'string', config: { filterable: true }, values: result.map(({ metric }) => metric[name] ?? '') });
  return {
    refId: target.refId,
    fields: [
      { name: 'Time', type: 'time', config: {}, values: result.map(({ value }) => value[0] * 1000) },
      ...labels.map(column),
      { name: several ? `Value #${target.refId}` : 'Value', type: 'number', config: {}, values: result.map(({ value }) => number(value[1])) },
    ],
  };
}

async function exemplars(target, query, start, end) {
  const found = await asked('/api/v1/query_exemplars', { query, start, end });
  const all = found.flatMap((each) => each.exemplars.map((one) => ({ Time: one.timestamp * 1000, Value: Number(one.value) })));
  const field = (name, type) => ({ name, type, config: {}, values: all.map((each) => each[name]) });
  return { name: 'exemplar', refId: target.refId, meta: { dataTopic: 'annotations' }, fields: [field('Time', 'time'), field('Value', 'number')] };
}

class Jaeger extends Source {
  async run(request) {
    const [target] = request.targets;
    const text = (name) => filled(request, target[name] ?? '');
    if (target.queryType !== 'search') {
      const id = text('query');
      const found = id ? await (await fetch(`/jaeger/api/traces/${encodeURIComponent(id)}`)).json() : {};
      return { data: (found.data ?? []).map((trace) => ({ fields: [{ name: 'trace', type: 'other', config: {}, values: [trace] }] })) };
    }
    const query = new URLSearchParams({
      service: text('service'),
      operation: text('operation'),
      limit: String(target.limit ?? 20),
      start: request.range.from.valueOf() * 1000,
      end: request.range.to.valueOf() * 1000,
      lookback: 'custom',
      ...(target.minDuration ? { minDuration: text('minDuration') } : {}),
      ...(target.tags ? { tags: JSON.stringify(Object.fromEntries(text('tags').split(' ').map((tag) => tag.split('=')))) } : {}),
    });
    const found = await (await fetch(`/jaeger/api/traces?${query}`)).json();
    return { data: [{ refId: target.refId, ...table(found.data ?? [], this) }] };
  }
}

/** A request for each way in which the queries' data sources are written, as Grafana's own makes it: the variables come later. */
class Mixed extends Source {
  async run(request) {
    const groups = Map.groupBy(request.targets, (target) => target.datasource.uid);
    const answers = [...groups].map(([uid, targets]) => sources.find({ uid }).run({ ...request, targets }));
    return { data: (await Promise.all(answers)).flatMap((answer) => answer.data) };
  }
}

/** The traces that a search finds, as a table. */
function table(traces, source) {
  const roots = traces.map((trace) => trace.spans.find((span) => !span.references.length) ?? trace.spans[0]);
  const links = [{ title: 'Trace', url: '', internal: { datasourceUid: source.uid, datasourceName: source.name, query: { query: '${__value.raw}' } } }];
  const named = traces.map((trace, index) => `${trace.processes[roots[index].processID].serviceName}: ${roots[index].operationName}`);
  const field = (name, type, displayName, values, more = {}) => ({ name, type, config: { displayName, ...more }, values });
  return {
    meta: { preferredVisualisationType: 'table' },
    fields: [
      field('traceID', 'string', 'Trace ID', traces.map((trace) => trace.traceID), { links }),
      field('traceName', 'string', 'Trace name', named),
      field('startTime', 'time', 'Start time', roots.map((root) => root.startTime / 1000)),
      field('duration', 'number', 'Duration', roots.map((root) => root.duration), { unit: 'µs' }),
    ],
  };
}

const all = [new Prometheus('prometheus'), new Jaeger('jaeger'), new Mixed('mixed')];

export const sources = {
  all,
  find: (wanted) => all.find((each) => (wanted?.uid ?? wanted ?? '').toLowerCase().includes(each.type)) ?? all[wanted?.type === 'jaeger' ? 1 : 0],
};
