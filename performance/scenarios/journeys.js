// The journeys, and of how many of each a mixed run is made.

import * as book from './book.js';
import * as browse from './browse.js';
import * as cancel from './cancel.js';

const ALONE = { book, browse, cancel };

// Of ten iterations.
const MIX = { book: 5, browse: 4, cancel: 1 };

const DRAW = Object.entries(MIX).flatMap(([journey, weight]) => Array(weight).fill(journey));

export const JOURNEYS = {
  ...ALONE,
  mixed: {
    operations: [...new Set(Object.keys(MIX).flatMap((journey) => ALONE[journey].operations))],
    thinkSeconds: DRAW.reduce((sum, journey) => sum + ALONE[journey].thinkSeconds, 0) / DRAW.length,
  },
};

// Gives the name of one iteration's journey, and its steps.
export function oneOf(journey) {
  const name = journey === 'mixed' ? DRAW[Math.floor(Math.random() * DRAW.length)] : journey;
  return [name, ALONE[name].iteration];
}
