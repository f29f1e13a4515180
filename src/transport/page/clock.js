// Owns how times and days read, in the language of the browser. Called by the timeline.

const time = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'medium' });
const near = new Intl.DateTimeFormat(undefined, { weekday: 'long', day: 'numeric', month: 'long' });
const far = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'long', year: 'numeric' });

const midnight = (at) => new Date(at).setHours(0, 0, 0, 0);

export const timeOf = (at) => time.format(at);
export const fullTimeOf = (at) => full.format(at);
export const sameDay = (a, b) => midnight(a) === midnight(b);

export function dayOf(at, now = Date.now()) {
  const days = Math.round((midnight(now) - midnight(at)) / 86_400_000);
  if (days === 0) return 'Today';
  if (days === 1) return 'Yesterday';
  return (days < 180 ? near : far).format(at);
}
