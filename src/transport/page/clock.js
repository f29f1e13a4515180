// Owns how times and days read, in the language of the browser. Called by the timeline and its messages.

const format = (options) => new Intl.DateTimeFormat(undefined, options);
const time = format({ hour: '2-digit', minute: '2-digit' });
const full = format({ dateStyle: 'full', timeStyle: 'medium' });
const near = format({ weekday: 'long', day: 'numeric', month: 'long' });
const far = format({ day: 'numeric', month: 'long', year: 'numeric' });
const midnight = (at) => new Date(at).setHours(0, 0, 0, 0);

export const timeOf = (at) => time.format(at);
export const fullTimeOf = (at) => full.format(at);
export const sameDay = (a, b) => midnight(a) === midnight(b);

export function dayOf(at) {
	const days = Math.round((midnight(Date.now()) - midnight(at)) / 86_400_000);
	return ['Today', 'Yesterday'][days] ?? (days < 180 ? near : far).format(at);
}
