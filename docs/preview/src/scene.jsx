// A dashboard's JSON as a scene, as Grafana itself makes one of it.
import * as Scenes from '@grafana/scenes';

function variable(given) {
  const common = { name: given.name, label: given.label, description: given.description, hide: given.hide, skipUrlSync: given.skipUrlSync };
  if (given.type === 'datasource') {
    const chosen = { value: given.current.value, text: given.current.text, pluginId: given.query };
    return new Scenes.DataSourceVariable({ ...common, ...chosen, regex: '', defaultOptionEnabled: false });
  }
  if (given.type === 'textbox') return new Scenes.TextBoxVariable({ ...common, value: given.current?.value ?? given.query ?? '' });
  const { query, datasource, sort, refresh, allValue, includeAll, multi, definition } = given;
  return new Scenes.QueryVariable({
    ...common, query, datasource, sort, refresh, allValue, includeAll, definition,
    isMulti: multi,
    regex: given.regex ?? '',
    value: given.current?.value ?? '',
    text: given.current?.text ?? '',
  });
}

/** The links in the title of a panel. */
class PanelLinks extends Scenes.SceneObjectBase {
  static Component = ({ model }) =>
    model.state.links.map((each) => (
      <a key={each.title} style={{ padding: '0 8px', fontSize: 12 }} href={Scenes.sceneGraph.interpolate(model, each.url)}>
        ↗ {each.title}
      </a>
    ));
}

/** The links to other dashboards. */
class DashboardLinks extends Scenes.SceneObjectBase {
  static Component = ({ model }) => (
    <div style={{ display: 'flex', gap: 8 }}>
      {model.state.links.map((each) => (
        <a key={each.title} href={each.url} style={{ border: '1px solid rgba(128,128,140,.4)', borderRadius: 4, padding: '6px 10px', fontSize: 13 }}>
          {each.title}
        </a>
      ))}
    </div>
  );
}

function panel(given) {
  const queries = { datasource: given.datasource, queries: given.targets, maxDataPoints: given.maxDataPoints, minInterval: given.interval };
  const $data = new Scenes.SceneDataTransformer({ $data: new Scenes.SceneQueryRunner(queries), transformations: given.transformations ?? [] });
  return new Scenes.VizPanel({
    key: `panel-${given.id}`,
    title: given.title,
    description: given.description,
    pluginId: given.type,
    pluginVersion: '12.3.0',
    options: given.options ?? {},
    fieldConfig: given.fieldConfig,
    $data,
    ...(given.links?.length ? { titleItems: new PanelLinks({ links: given.links }) } : {}),
  });
}

const item = (given) => {
  const { x, y, w, h } = given.gridPos;
  return new Scenes.SceneGridItem({ key: `item${given.id}`, x, y, width: w, height: h, body: panel(given) });
};

export function sceneOf(dashboard) {
  const rows = [];
  for (const given of dashboard.panels) {
    if (given.type === 'row') rows.push(new Scenes.SceneGridRow({ key: `row${given.id}`, title: given.title, y: given.gridPos.y, children: [] }));
    else rows.at(-1).setState({ children: [...rows.at(-1).state.children, item(given)] });
  }
  return new Scenes.EmbeddedScene({
    $timeRange: new Scenes.SceneTimeRange({ ...dashboard.time, timeZone: 'browser' }),
    $variables: new Scenes.SceneVariableSet({ variables: dashboard.templating.list.map(variable) }),
    controls: [
      new Scenes.VariableValueSelectors({}),
      new DashboardLinks({ links: dashboard.links }),
      new Scenes.SceneControlsSpacer(),
      new Scenes.SceneTimePicker({ isOnCanvas: true }),
    ],
    body: new Scenes.SceneGridLayout({ children: rows, isDraggable: false, isResizable: false, isLazy: false }),
  });
}
