// What GitHub's own toolkit prints for the cases of cases.json: `node core.mjs PATH/TO/core.js`.
import fs from 'fs';
import os from 'os';
import path from 'path';
const core = await import(process.argv[2]);
const cases = JSON.parse(fs.readFileSync(new URL('data/cases.json', import.meta.url)));
const written = [];
const write = process.stdout.write.bind(process.stdout);
process.stdout.write = text => { written.push(text); return true; };
const printed = run => { written.length = 0; run(); return written.join('').replace(/\r?\n$/, ''); };
const commands = cases.commands.map(({level, message, title, file, line}) =>
  printed(() => core[level](message, {title, file, startLine: line})));
const output = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'core-')), 'output');
const outputs = cases.outputs.map(value => {
  fs.writeFileSync(output, '');
  process.env.GITHUB_OUTPUT = output;
  core.setOutput('name', value);
  // The delimiter is drawn anew each time.
  return fs.readFileSync(output, 'utf8').replaceAll(/ghadelimiter_[0-9a-f-]{36}/g, 'DELIMITER');
});
process.stdout.write = write;
write(JSON.stringify({commands, outputs}));
