// Draws the dashboards into pictures: serves the page and asks the real servers for it, in a real browser.
//
//   node draw.mjs [--folder DIR] [--width 1600] [--theme dark] [--from now-80m] [DASHBOARD[?var-job=...]] ...
//   node draw.mjs --tables [DASHBOARD[?var-job=...]] ...   prints the rows of the tables instead, as JSON
import { chromium } from 'playwright-core';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { parseArgs } from 'node:util';
import sharp from 'sharp';

const HERE = import.meta.dirname;
const DASHBOARDS = path.resolve(HERE, '../../grafana/dashboards');
const SERVERS = {
  prom: process.env.PROMETHEUS_URL ?? 'http://127.0.0.1:9090',
  jaeger: process.env.JAEGER_URL ?? 'http://127.0.0.1:16686',
};
const KINDS = { '.js': 'text/javascript', '.css': 'text/css', '.json': 'application/json', '.svg': 'image/svg+xml', '.woff2': 'font/woff2' };
const PAGE = `<!doctype html><meta charset=utf-8><title>Dashboards</title><link rel=stylesheet href=/dist/page.css>
<style>html, body, #root { min-height: 100% } body { overflow: auto !important; height: auto !important }</style>
<body class=app-grafana><div id=root></div><script type=module src=/dist/page.js></script>`;
const SETTLED = 4000; // Milliseconds in which nothing is asked any more.

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    folder: { type: 'string', default: path.resolve(HERE, '../pictures') },
    width: { type: 'string', default: '1600' },
    theme: { type: 'string', default: 'dark' },
    from: { type: 'string', default: 'now-80m' },
    tables: { type: 'boolean', default: false },
  },
});

// --- the page, and what it asks -------------------------------------------------------------------------------------

function file(address) {
  if (address.startsWith('/dashboards/')) return path.join(DASHBOARDS, path.basename(address));
  if (address.startsWith('/dist/')) return path.join(HERE, 'dist', path.basename(address));
  if (address.includes('/img/')) return path.join(HERE, 'node_modules/@grafana/ui/dist/public/img', address.split('/img/')[1]);
  return undefined;
}

async function answer(request, response) {
  const { pathname, search } = new URL(request.url, 'http://page');
  const [, first, ...rest] = pathname.split('/');
  if (first in SERVERS) {
    const body = request.method === 'POST' ? Buffer.concat(await request.toArray()) : undefined;
    const headers = body ? { 'content-type': request.headers['content-type'] } : {};
    const asked = await fetch(`${SERVERS[first]}/${rest.join('/')}${search}`, { method: request.method, body, headers });
    response.writeHead(asked.status, { 'content-type': 'application/json' }).end(Buffer.from(await asked.arrayBuffer()));
  } else if (first === 'd') {
    response.writeHead(200, { 'content-type': 'text/html' }).end(PAGE);
  } else {
    const found = file(pathname);
    const exists = found && fs.existsSync(found);
    response.writeHead(exists ? 200 : 404, { 'content-type': KINDS[path.extname(pathname)] ?? 'text/plain' });
    response.end(exists ? fs.readFileSync(found) : '');
  }
}

const server = http.createServer((request, response) => {
  answer(request, response).catch((error) => response.writeHead(502).end(JSON.stringify({ status: 'error', error: String(error) })));
});
await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
const base = `http://127.0.0.1:${server.address().port}`;

// --- what the pictures show -----------------------------------------------------------------------------------------

async function json(address) {
  return (await fetch(address)).json();
}

/** Of the last runs of a workflow the one with the most failed attempts, for the dashboard of one run. */
async function chosenRun() {
  const search = new URLSearchParams({ service: 'content-studio', operation: 'run pr_campaign', limit: '100', lookback: '1h' });
  const { data } = await json(`${SERVERS.jaeger}/api/traces?${search}`);
  const attempts = (trace) => trace.spans.filter((span) => span.operationName.startsWith('attempt ')).length;
  const [chosen] = (data ?? []).sort((one, other) => attempts(other) - attempts(one));
  if (!chosen) throw new Error('Jaeger has no run of pr_campaign: run workload.py first');
  return chosen.traceID;
}

async function usual() {
  const campaign = 'var-job=content-studio&var-workflow=pr_campaign';
  return [
    { address: 'otel-progress-bottlenecks', name: 'readme', most: 790 },
    { address: 'otel-progress-overview' },
    { address: 'otel-progress-bottlenecks' },
    { address: `otel-progress-stage?${campaign}&var-stage=content_generation` },
    { address: 'otel-progress-quality' },
    { address: `otel-progress-run?${campaign}&var-traceId=${await chosenRun()}` },
  ];
}

// --- drawing --------------------------------------------------------------------------------------------------------

async function panelsOf(uid) {
  const { panels } = await json(`${base}/dashboards/${uid}.json`);
  return panels.filter((each) => each.type !== 'row').length;
}

/** In the page: of each table by its title the rows, and of each cell its text, its colour and where a click leads. */
function tables() {
  const cell = (each) => ({ text: each.innerText.trim(), color: getComputedStyle(each).color, link: each.querySelector('a')?.href });
  const rows = (panel) => [...panel.querySelectorAll('[role=row]')].map((row) => [...row.querySelectorAll('[role=columnheader], [role=gridcell]')].map(cell));
  const panels = [...document.querySelectorAll('[data-viz-panel-key]')].filter((panel) => panel.querySelector('[role=grid]'));
  return Object.fromEntries(panels.map((panel) => [panel.querySelector('h2').innerText, rows(panel)]));
}

async function draw(browser, { address, name, most }) {
  const [uid, variables] = address.split('?');
  const width = Number(options.width);
  const page = await browser.newPage({ viewport: { width, height: 1000 } });
  const errors = [];
  page.on('pageerror', (error) => errors.push(String(error).slice(0, 300)));
  const query = new URLSearchParams({ theme: options.theme, from: options.from, to: 'now' });
  await page.goto(`${base}/d/${uid}?${query}&${variables ?? ''}`, { waitUntil: 'networkidle' });
  await page.waitForFunction((panels) => document.querySelectorAll('[data-viz-panel-key]').length >= panels, await panelsOf(uid));
  const whole = await page.evaluate(() => document.documentElement.scrollHeight);
  await page.setViewportSize({ width, height: whole }); // Panels that are not seen are not drawn.
  await page.waitForLoadState('networkidle');
  await page.waitForTimeout(SETTLED);
  if (options.tables) {
    console.log(JSON.stringify(await page.evaluate(tables)));
    return errors.length;
  }
  const height = Math.min(whole, most ?? whole);
  const picture = await page.screenshot({ clip: { x: 0, y: 0, width, height } });
  const target = path.join(options.folder, `${name ?? uid.replace('otel-progress-', '')}.png`);
  fs.mkdirSync(options.folder, { recursive: true });
  await sharp(picture).png({ palette: true, quality: 100, colours: 256, effort: 10, dither: 0 }).toFile(target);
  const empty = await page.evaluate(() => [...document.querySelectorAll('[data-nothing]')].map((each) => each.dataset.nothing));
  errors.push(...(await page.evaluate(() => window.previewErrors)));
  console.log(`${target}: ${width} x ${height}, ${Math.round(fs.statSync(target).size / 1024)} KB`);
  console.log(`  empty: ${empty.join(', ') || 'nothing'}${errors.length ? `\n  errors: ${errors.join('\n  ')}` : ''}`);
  await page.close();
  return errors.length;
}

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox'] });
let wrong = 0;
const wanted = positionals.length ? positionals.map((address) => ({ address })) : await usual();
for (const each of wanted) wrong += await draw(browser, each);
await browser.close();
server.close();
process.exitCode = wrong ? 1 : 0;
