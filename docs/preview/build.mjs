// Bundles the page. Two things of the packages must be put right for that.
import { build } from 'esbuild';
import fs from 'node:fs';
import path from 'node:path';

const NESTED_ROUTER = 'node_modules/@grafana/ui/node_modules/react-router-dom'; // Grafana's components want version 5.

// Grafana's tables use a fork of react-data-grid that is not on npm. The release nearest to it renders contexts as
// React 19 does, and Grafana has React 18.
const grid = 'node_modules/react-data-grid/lib/bundle.js';
fs.writeFileSync(grid, fs.readFileSync(grid, 'utf8').replace(/(jsxs?\([A-Za-z]*Context),/g, '$1.Provider,'));

const resolve = {
  name: 'resolve',
  setup(bundle) {
    bundle.onResolve({ filter: /^@grafana\/schema\/dist\// }, ({ path: wanted }) => {
      const base = path.resolve('node_modules', wanted);
      const ending = ['', '.mjs', '.js'].find((each) => fs.existsSync(base + each));
      return ending === undefined ? undefined : { path: base + ending };
    });
    bundle.onResolve({ filter: /^react-router-dom$/ }, ({ importer }) =>
      importer.includes('v5-compat') ? { path: path.resolve(NESTED_ROUTER, 'esm/react-router-dom.js') } : undefined
    );
  },
};

await build({
  entryPoints: ['src/page.jsx'],
  outdir: 'dist',
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'browser',
  jsx: 'automatic',
  loader: { '.js': 'jsx', '.woff': 'dataurl', '.woff2': 'dataurl', '.svg': 'dataurl', '.ttf': 'dataurl' },
  define: { 'process.env.NODE_ENV': '"production"', 'process.env': '{}', global: 'window' },
  alias: { moment: 'moment/moment.js', '@grafana/ui/node_modules/react-router-dom': `./${NESTED_ROUTER}` },
  plugins: [resolve],
  logLevel: 'error',
});
