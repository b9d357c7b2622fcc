// The kinds of panels, around Grafana's own components. What is in no package is drawn here, plainly: heat maps, traces,
// and the marks of exemplars.
import * as Data from '@grafana/data';
import { BarGauge, BigValue, DataLinksContextMenu, TimeSeries, useTheme2, VizRepeater } from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';
import React from 'react';

/** What a panel says that has nothing to show. */
function Nothing({ title, fieldConfig, width, height, data }) {
  const style = { width, height, display: 'flex', alignItems: 'center', justifyContent: 'center', textAlign: 'center', fontSize: 18, opacity: 0.75, padding: 12 };
  return <div data-nothing={title} style={style}>{data.error?.message ?? fieldConfig?.defaults?.noValue ?? 'No data'}</div>;
}

// --- figures, bars, tables ------------------------------------------------------------------------------------------

function Repeated(props, renderValue, more) {
  const theme = useTheme2();
  const { data, fieldConfig, options, replaceVariables, timeZone, width, height, renderCounter } = props;
  const reduceOptions = { calcs: ['lastNotNull'], ...options.reduceOptions };
  const getValues = () => Data.getFieldDisplayValues({ fieldConfig, reduceOptions, replaceVariables, theme, data: data.series, timeZone });
  return (
    <VizRepeater
      {...{ getValues, width, height, renderCounter }}
      source={data}
      getAlignmentFactors={Data.getDisplayValueAlignmentFactors}
      orientation={options.orientation ?? 'auto'}
      renderValue={(given) => linked(given.value, (api) => renderValue(given, api, theme))}
      {...more}
    />
  );
}

const linked = (value, drawn) =>
  value.hasLinks && value.getLinks ? <DataLinksContextMenu links={value.getLinks}>{drawn}</DataLinksContextMenu> : drawn({});

const Figure = (props) =>
  Repeated(
    props,
    ({ value, width, height, count, alignmentFactors }, api, theme) => (
      <BigValue
        {...{ count, alignmentFactors, width, height, theme }}
        value={value.display}
        text={props.options.text}
        colorMode={props.options.colorMode ?? 'value'}
        graphMode={props.options.graphMode ?? 'area'}
        justifyMode={props.options.justifyMode ?? 'auto'}
        textMode={props.options.textMode ?? 'auto'}
        wideLayout={props.options.wideLayout ?? true}
        onClick={api.openMenu}
        className={api.targetClassName}
        hasLinks={value.hasLinks}
      />
    ),
    { itemSpacing: 3, autoGrid: true }
  );

const Bars = (props) =>
  Repeated(
    props,
    ({ value, width, height, alignmentFactors, orientation, count, isOverflow }, api, theme) => (
      <BarGauge
        {...{ width, height, orientation, theme }}
        value={count === 1 && !value.display.title ? { ...value.display, title: undefined } : value.display}
        field={value.field}
        display={value.view?.getFieldDisplayProcessor?.(value.colIndex)}
        itemSpacing={10}
        lcdCellWidth={12}
        text={props.options.text}
        displayMode={props.options.displayMode}
        showUnfilled={props.options.showUnfilled}
        valueDisplayMode={props.options.valueMode}
        namePlacement={props.options.namePlacement}
        alignmentFactors={count > 1 ? alignmentFactors : undefined}
        isOverflow={Boolean(isOverflow)}
        onClick={api.openMenu}
        className={api.targetClassName}
      />
    ),
    {
      itemSpacing: 10,
      maxVizHeight: props.options.maxVizHeight ?? 300,
      minVizWidth: props.options.minVizWidth ?? 8,
      minVizHeight: props.options.minVizHeight ?? 16,
    }
  );

function Table(props) {
  const { data, width, height, options, fieldConfig, timeRange } = props;
  const [frame] = data.series;
  if (!frame?.fields.length || !frame.length) return <Nothing {...props} />;
  Data.cacheFieldDisplayNames(data.series);
  const nothing = () => {};
  return (
    <TableNG
      {...{ width, height, fieldConfig, timeRange }}
      data={frame}
      initialSortBy={options.sortBy}
      noHeader={!(options.showHeader ?? true)}
      cellHeight={options.cellHeight ?? 'sm'}
      structureRev={data.structureRev}
      enableVirtualization={false}
      showTypeIcons={false}
      onSortByChange={nothing}
      onColumnResize={nothing}
    />
  );
}

// --- over time ------------------------------------------------------------------------------------------------------

function Lines(props) {
  const { data, timeRange, timeZone, width, height, options } = props;
  const frames = React.useMemo(() => {
    Data.cacheFieldDisplayNames(data.series); // As Grafana does: colours by name need them.
    const own = (field) => ({ ...field, config: { ...field.config, custom: { ...field.config.custom } } });
    const drawn = data.series.filter((each) => each.length && each.fields.some((field) => field.type === 'number'));
    return drawn.map((each) => ({ ...each, fields: each.fields.map((field) => (field.type === 'number' ? own(field) : field)) }));
  }, [data.series]);
  if (!frames.some((each) => each.fields[1].values.some((value) => value !== null))) return <Nothing {...props} />;
  return (
    <TimeSeries {...{ frames, timeRange, timeZone, width, height, options }} structureRev={data.structureRev} legend={{ ...options.legend }}>
      {(builder) => <Exemplars builder={builder} points={thinned(data)} />}
    </TimeSeries>
  );
}

/** Of each interval the highest exemplar, and those that are far from it, as Grafana's data source leaves them. */
function thinned(data) {
  const points = (data.annotations ?? []).flatMap((frame) => frame.fields[0].values.map((at, index) => ({ at, value: frame.fields[1].values[index] })));
  const mean = points.reduce((sum, each) => sum + each.value, 0) / points.length;
  const far = 2 * Math.sqrt(points.reduce((sum, each) => sum + (each.value - mean) ** 2, 0) / points.length);
  const kept = new Map();
  for (const point of points.sort((one, other) => other.value - one.value)) {
    const interval = Math.floor(point.at / (data.request?.intervalMs ?? 60000));
    const before = kept.get(interval) ?? [];
    if (before.every((other) => Math.abs(other.value - point.value) >= far)) kept.set(interval, [...before, point]);
  }
  return [...kept.values()].flat();
}

function Exemplars({ builder, points }) {
  const theme = useTheme2();
  const [shown, show] = React.useState();
  React.useLayoutEffect(() => {
    const place = (plot) => {
      const { scale } = plot.series[1];
      const { min, max } = plot.scales[scale];
      const [left, top] = [plot.bbox.left, plot.bbox.top].map((each) => each / devicePixelRatio);
      const at = ({ at, value }) => [plot.valToPos(at, 'x'), plot.valToPos(Math.min(max, Math.max(min, value)), scale)];
      show({ left, top, points: points.map(at).filter(([x]) => x >= 0) });
    };
    builder.addHook('draw', place);
    builder.addHook('ready', place);
  }, [builder, points.length]);
  const mark = { position: 'absolute', width: 6, height: 6, background: theme.visualization.getColorByName('#5794F2'), transform: 'translate(-50%, -50%) rotate(45deg)' };
  return (
    <div style={{ position: 'absolute', left: shown?.left, top: shown?.top, pointerEvents: 'none' }}>
      {shown?.points.map(([x, y], index) => <div key={index} style={{ ...mark, left: x, top: y }} />)}
    </div>
  );
}

/** Drawn here: a cell for each bucket and interval. */
function HeatMap(props) {
  const { data, width, height, timeRange } = props;
  const canvas = React.useRef();
  const theme = useTheme2();
  const buckets = data.series.filter((each) => each.length && each.fields[1]?.type === 'number');
  React.useEffect(() => {
    if (!canvas.current) return;
    const [left, below] = [60, 24];
    const drawing = canvas.current.getContext('2d');
    const times = buckets[0].fields[0].values;
    const most = buckets.reduce((high, each) => each.fields[1].values.reduce((one, other) => Math.max(one, other ?? 0), high), 0);
    const cell = { width: (width - left - 8) / times.length, height: (height - below - 8) / buckets.length };
    const text = (format, value) => Data.formattedValueToString(Data.getValueFormat(format)(value));
    drawing.clearRect(0, 0, width, height);
    drawing.font = '11px Inter';
    drawing.fillStyle = theme.colors.text.secondary;
    times.forEach((at, index) => {
      if (index % Math.ceil(times.length / 6) === 0) drawing.fillText(text('time: HH:mm', at), left + index * cell.width, height - 6);
    });
    buckets.forEach((each, index) => {
      const top = 4 + (buckets.length - index - 1) * cell.height;
      drawing.fillStyle = theme.colors.text.secondary;
      drawing.fillText(each.name === '+Inf' ? 'more' : `≤ ${text('s', Number(each.name))}`, 2, top + 5);
      each.fields[1].values.forEach((value, at) => {
        drawing.fillStyle = `rgba(80, 150, 240, ${Math.sqrt((value ?? 0) / most)})`;
        drawing.fillRect(left + at * cell.width, top, cell.width - 1, cell.height - 1);
      });
    });
  }, [data, width, height, timeRange]);
  return buckets.length ? <canvas ref={canvas} width={width} height={height} /> : <Nothing {...props} />;
}

/** Drawn here: the spans in the order of their starts, each inside its parent. */
function Trace(props) {
  const theme = useTheme2();
  const trace = props.data.series[0]?.fields[0]?.values?.[0];
  if (!trace) return <Nothing {...props} />;
  const parent = (span) => span.references.find((each) => each.refType === 'CHILD_OF')?.spanID;
  const known = new Set(trace.spans.map((each) => each.spanID));
  const begin = Math.min(...trace.spans.map((each) => each.startTime));
  const whole = Math.max(...trace.spans.map((each) => each.startTime + each.duration)) - begin;
  const within = (id, depth) =>
    trace.spans
      .filter((each) => (known.has(parent(each)) ? parent(each) : undefined) === id)
      .sort((one, other) => one.startTime - other.startTime)
      .flatMap((each) => [{ ...each, depth }, ...within(each.spanID, depth + 1)]);
  const failed = (span) => span.tags.some((tag) => tag.key === 'error' && tag.value);
  const colour = (span) => theme.visualization.getColorByName(failed(span) ? 'red' : 'blue');
  return (
    <div style={{ fontSize: 12, overflow: 'hidden', height: props.height }}>
      {within(undefined, 0).map((span) => (
        <div key={span.spanID} style={{ display: 'flex', height: 20, alignItems: 'center' }}>
          <div style={{ width: '25%', paddingLeft: 16 * span.depth, whiteSpace: 'nowrap', overflow: 'hidden' }}>{span.operationName}</div>
          <div style={{ position: 'relative', flex: 1, height: 12 }}>
            <div style={{ position: 'absolute', height: 12, minWidth: 2, borderRadius: 2, background: colour(span), left: `${(92 * (span.startTime - begin)) / whole}%`, width: `${(92 * span.duration) / whole}%` }} />
            <div style={{ position: 'absolute', paddingLeft: 6, left: `${(92 * (span.startTime - begin + span.duration)) / whole}%`, lineHeight: '12px', whiteSpace: 'nowrap' }}>
              {Data.formattedValueToString(Data.getValueFormat('µs')(span.duration))}
            </div>
          </div>
        </div>
      ))}
    </div>
  );
}

// --- what a field of each kind may be set to --------------------------------------------------------------------------

const custom = (defaults) => (builder) => {
  const nothing = () => null;
  for (const [path, defaultValue] of Object.entries(defaults)) {
    builder.addCustomEditor({ id: path, path, name: path, defaultValue, editor: nothing, override: nothing, process: Data.identityOverrideProcessor, shouldApply: () => true });
  }
};
const LINES = {
  drawStyle: 'line', lineInterpolation: 'linear', lineStyle: undefined, lineWidth: 1, barAlignment: 0, barWidthFactor: 0.6,
  fillOpacity: 0, gradientMode: 'none', spanNulls: false, insertNulls: false, showPoints: 'auto', showValues: false, pointSize: 5,
  stacking: { mode: 'none', group: 'A' }, axisPlacement: 'auto', axisLabel: '', axisColorMode: 'text', axisBorderShow: false,
  axisCenteredZero: false, scaleDistribution: { type: 'linear' }, thresholdsStyle: { mode: 'off' },
  hideFrom: { tooltip: false, viz: false, legend: false },
};
const TABLE = { align: 'auto', minWidth: undefined, width: undefined, cellOptions: { type: 'auto' }, inspect: false, footer: { reducers: [] } };
const bySeries = { color: { settings: { byValueSupport: true, bySeriesSupport: true, preferThresholdsMode: false }, defaultValue: { mode: 'palette-classic' } } };

function plugin(id, component, config = {}) {
  const made = new Data.PanelPlugin(component);
  made.meta = { id, name: id, info: { logos: { small: '' }, version: '12.3.0' }, module: '', baseUrl: '', sort: 0, skipDataQuery: false };
  made.useFieldConfig(config);
  made.setDataSupport({ annotations: true, alertStates: true });
  return made;
}

export const plugins = Object.fromEntries(
  [
    plugin('stat', Figure),
    plugin('bargauge', Bars),
    plugin('table', Table, { useCustomConfig: custom(TABLE) }),
    plugin('timeseries', Lines, { standardOptions: bySeries, useCustomConfig: custom(LINES) }),
    plugin('heatmap', HeatMap),
    plugin('traces', Trace),
  ].map((each) => [each.meta.id, each])
);
