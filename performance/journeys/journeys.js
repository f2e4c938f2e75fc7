// The journeys, and the mix of a mixed run.

import * as book from './book.js';
import * as browse from './browse.js';
import * as cancel from './cancel.js';

const SINGLE = { book, browse, cancel };

// Iterations out of ten.
const MIX = { book: 5, browse: 4, cancel: 1 };

const names = /** @type {(keyof typeof MIX)[]} */ (Object.keys(MIX));
const draws = names.flatMap((name) => Array(MIX[name]).fill(name));

export const JOURNEYS = {
  ...SINGLE,
  mixed: {
    operations: [...new Set(names.flatMap((name) => SINGLE[name].operations))],
    pauseSeconds: draws.reduce((sum, name) => sum + journey(name).pauseSeconds, 0) / draws.length,
  },
};

/**
 * @param {keyof typeof JOURNEYS} name for a mixed run, the journey is drawn
 * @returns {{ name: string, iteration: () => void }}
 */
export function drawJourney(name) {
  const drawn = name === 'mixed' ? draws[Math.floor(Math.random() * draws.length)] : name;
  return { name: drawn, iteration: journey(drawn).iteration };
}

/** @param {keyof typeof SINGLE} name */
function journey(name) {
  return SINGLE[name];
}
