// A client books, reads the booking, cancels it twice (the response is the same) and reads it again.

import { request } from '../lib/clinic.js';
import { registerAndBook } from './book.js';

const READ = 'GET /appointments/{appointment_id}';
const CANCEL = 'POST /appointments/{appointment_id}/cancel';

export const pauseSeconds = 0;
export const operations = [
  'POST /owners',
  'POST /owners/{owner_id}/pets',
  'POST /pets/{pet_id}/appointments',
  READ,
  CANCEL,
];

export function iteration() {
  const ids = registerAndBook();
  /**
   * @param {any} body
   * @param {string} status
   */
  const has = (body, status) => body.id === ids.appointment_id && body.status === status;

  request(READ, { ids, isValid: (body) => has(body, 'booked'), result: 'the appointment' });
  const first = request(CANCEL, {
    ids,
    isValid: (body) => has(body, 'cancelled'),
    result: 'the cancelled appointment',
  }).body;
  /** @param {any} body */
  const isUnchanged = (body) => has(body, 'cancelled') && body.cancelled_at === first.cancelled_at;
  request(CANCEL, { ids, isValid: isUnchanged, result: 'the cancelled appointment' });
  request(READ, { ids, isValid: isUnchanged, result: 'the appointment' });
}
