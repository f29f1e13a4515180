// Owns how times and days read, in the browser's language. Called by the timeline.

const time = new Intl.DateTimeFormat([], { hour: '2-digit', minute: '2-digit' });
const date = new Intl.DateTimeFormat([], { dateStyle: 'full' });

export const midnight = (at) => new Date(at).setHours(0, 0, 0, 0);
export const timeOf = (at) => time.format(at);
export const dateOf = (at) => date.format(at);

export function dayOf(at) {
	const days = Math.round((midnight(Date.now()) - midnight(at)) / 86_400_000);
	return ['Today', 'Yesterday'][days] ?? dateOf(at);
}
