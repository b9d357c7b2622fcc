// The page: Grafana's own libraries, with as much of a server behind them as a dashboard needs.
import '@fontsource/inter/400.css';
import '@fontsource/inter/500.css';
import '@fontsource/inter/600.css';
import '@fontsource/roboto-mono/400.css';
import 'react-grid-layout/css/styles.css';
import 'uplot/dist/uPlot.min.css';
import * as Data from '@grafana/data';
import { initPluginTranslations } from '@grafana/i18n';
import * as Runtime from '@grafana/runtime';
import { UrlSyncManager } from '@grafana/scenes';
import { GlobalStyles, PortalContainer } from '@grafana/ui';
import { Router as NestedRouter } from '@grafana/ui/node_modules/react-router-dom';
import { createRoot } from 'react-dom/client';
import { BrowserRouter } from 'react-router-dom';
import { Observable, of } from 'rxjs';
import { plugins } from './panels';
import { sceneOf } from './scene';
import { sources } from './sources';

window.previewErrors = [];
Object.defineProperty(Array.prototype, 'get', { value(index) { return this[index]; } }); // As in Grafana: its scenes use it.

const theme = Data.createTheme({ colors: { mode: new URLSearchParams(location.search).get('theme') ?? 'dark' } });
Object.assign(Runtime.config, {
  theme2: theme,
  theme: theme.v1,
  bootData: { user: { timezone: 'browser', locale: 'en-US', weekStart: '' }, settings: {}, navTree: [] },
  featureToggles: { ...Runtime.config.featureToggles, tableNextGen: true },
});

// --- services of the server -----------------------------------------------------------------------------------------

Runtime.setDataSourceSrv({
  get: async (wanted) => sources.find(wanted),
  getInstanceSettings: (wanted) => sources.find(wanted).settings,
  getList: (filter) => sources.all.map((each) => each.settings).filter((each) => !filter?.pluginId || each.type === filter.pluginId),
  reload() {},
});
Runtime.setRunRequest(
  (source, request) =>
    new Observable((subscriber) => {
      const known = { request, timeRange: request.range };
      const frames = (answer, annotations) =>
        answer.data.filter((each) => (each.meta?.dataTopic === 'annotations') === annotations).map((each) => Data.toDataFrame(each));
      const failed = (error) => {
        window.previewErrors.push(String(error));
        subscriber.next({ ...known, state: 'Error', error: { message: String(error) }, series: [] });
      };
      subscriber.next({ ...known, state: 'Loading', series: [] });
      const subscription = source.query(request).subscribe({
        next: (answer) => subscriber.next({ ...known, state: 'Done', series: frames(answer, false), annotations: frames(answer, true) }),
        error: failed,
        complete: () => subscriber.complete(),
      });
      return () => subscription.unsubscribe();
    })
);
Runtime.setPluginImportUtils({
  importPanelPlugin: async (id) => {
    if (!plugins[id]) throw new Error(`no panel ${id}`);
    return plugins[id];
  },
  getPanelPluginFromCache: (id) => plugins[id],
});
Runtime.setBackendSrv({ get: async () => ({}), fetch: () => of({ data: {} }) });
Runtime.setEchoSrv({ addEvent() {}, addBackend() {}, flush() {} });
Runtime.setAppEvents(new Data.EventBusSrv());

// --- registries: what a field may be set to, and what becomes of it ---------------------------------------------------

const editor = () => null;
const option = (id, process, more = {}) => ({
  id, path: id, name: id, editor, override: editor, process, shouldApply: () => true, settings: {}, category: ['Standard'], ...more,
});
const ofNumbers = { shouldApply: (field) => field.type === 'number' };
const green = { mode: 'absolute', steps: [{ value: -Infinity, color: 'green' }, { value: 80, color: 'red' }] };
Data.standardFieldConfigEditorRegistry.setInit(() => [
  option('unit', Data.unitOverrideProcessor),
  option('min', Data.numberOverrideProcessor, ofNumbers),
  option('max', Data.numberOverrideProcessor, ofNumbers),
  option('decimals', Data.numberOverrideProcessor, ofNumbers),
  option('displayName', Data.displayNameOverrideProcessor),
  option('color', Data.identityOverrideProcessor, { defaultValue: { mode: 'thresholds' } }),
  option('noValue', Data.stringOverrideProcessor),
  option('links', Data.dataLinksOverrideProcessor),
  option('mappings', Data.valueMappingsOverrideProcessor, { defaultValue: [] }),
  option('thresholds', Data.thresholdsOverrideProcessor, { defaultValue: green }),
  option('filterable', Data.booleanOverrideProcessor, { hideFromDefaults: true }),
  option('fieldMinMax', Data.booleanOverrideProcessor),
]);
Data.standardEditorsRegistry.setInit(() =>
  ['number', 'text', 'boolean', 'select', 'radio', 'multi-select', 'slider', 'color', 'fieldColor', 'unit', 'links', 'mappings', 'thresholds', 'timezone', 'strings', 'stats-picker', 'field-name', 'dashboard-uid', 'actions', 'fieldNamePicker'].map(
    (id) => ({ id, name: id, editor })
  )
);
const transformers = new Map(Object.values(Data.standardTransformers).filter((each) => each?.id).map((each) => [each.id, each]));
Data.standardTransformersRegistry.setInit(() =>
  [...transformers.values()].map((each) => ({ id: each.id, name: each.name, editor, transformation: each }))
);

// --- the dashboard of the address -----------------------------------------------------------------------------------

const page = { padding: 16, display: 'flex', flexDirection: 'column', minHeight: '96vh' };

async function main() {
  await Promise.allSettled(['grafana', 'grafana-scenes'].map((each) => initPluginTranslations(each)));
  const dashboard = await (await fetch(`/dashboards/${location.pathname.split('/')[2]}.json`)).json();
  const scene = sceneOf(dashboard);
  new UrlSyncManager().initSync(scene);
  createRoot(document.getElementById('root')).render(
    <Data.ThemeContext.Provider value={theme}>
      <BrowserRouter>
        <NestedRouter history={Runtime.locationService.getHistory()}>
          <GlobalStyles />
          <div style={page}>
            <h1 style={{ fontSize: 18, margin: '0 0 10px' }}>{dashboard.title}</h1>
            <scene.Component model={scene} />
          </div>
          <PortalContainer />
        </NestedRouter>
      </BrowserRouter>
    </Data.ThemeContext.Provider>
  );
}
main();
