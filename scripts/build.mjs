/** `npm run build`: install and build, each only when something changed. */
import { runScript, setUp } from './setup.mjs';

await runScript(async () => setUp());
