import { createRequire } from 'node:module';
globalThis.window = globalThis;
const Data = createRequire(import.meta.url)('@grafana/data');
console.log(Object.keys(Data).length, typeof Data.transformDataFrame);
