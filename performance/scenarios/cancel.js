// A client books, reads the booking, cancels it, cancels it again for good measure, reads it again.

import { ask } from '../lib/clinic.js';
import { registerAndBook } from './book.js';

const READ = 'GET /appointments/{appointment_id}';
const CANCEL = 'POST /appointments/{appointment_id}/cancel';

export const thinkSeconds = 0;
export const operations = [
  'POST /owners',
  'POST /owners/{owner_id}/pets',
  'POST /pets/{pet_id}/appointments',
  READ,
  CANCEL,
];

export function iteration() {
  const ids = registerAndBook().ofAppointment;
  const is = (status) => (said) => said.id === ids.appointment_id && said.status === status;

  ask(READ, { ids, right: is('booked'), promise: 'the appointment' });
  const cancelled = { ids, right: is('cancelled'), promise: 'the cancelled appointment' };
  const first = ask(CANCEL, cancelled).said;
  const same = (said) => is('cancelled')(said) && said.cancelled_at === first.cancelled_at;
  ask(CANCEL, { ids, right: same, promise: 'the cancelled appointment' });
  ask(READ, { ids, right: same, promise: 'the appointment' });
}
