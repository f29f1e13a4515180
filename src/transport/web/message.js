// Owns what a message looks like. Keeps no state.

import { el, face, icon, spoken, tint } from './dom.js';

const time = new Intl.DateTimeFormat([], { hour: '2-digit', minute: '2-digit' });
const date = new Intl.DateTimeFormat([], { dateStyle: 'full' });

/** No direction marks: an address must not read as another. */
const ADDRESS = /\b(https?:\/\/[^\s<>"\p{Bidi_Control}]+)/iu;
const PUNCTUATION = '.,;:!?\'’”…*]}';
const JUST_EMOJI = /^[\p{Extended_Pictographic}\p{Emoji_Modifier}\p{Regional_Indicator}\u200d\ufe0f\s]{1,24}$/u;

const STATES = { waiting: 'Waiting', sending: 'Sending', failed: 'Failed', stored: 'Sent', read: 'Read' };

export const midnight = (at) => new Date(at).setHours(0, 0, 0, 0);

export function dayOf(at) {
	const days = Math.round((midnight(Date.now()) - midnight(at)) / 86_400_000);
	return ['Today', 'Yesterday'][days] ?? date.format(at);
}

/** Before its sentence's punctuation and brackets. In one walk: a message may hold nothing else. */
function endOf(address) {
	let unopened = address.split(')').length - address.split('(').length;
	let end = address.length;
	for (; ; end -= 1) {
		const last = address[end - 1];
		if (last === ')' && unopened > 0) unopened -= 1;
		else if (!PUNCTUATION.includes(last)) return end;
	}
}

function linked(found) {
	const address = found.slice(0, endOf(found));
	if (!URL.canParse(address)) return found;
	const link = el('a', { href: address, target: '_blank', rel: 'noopener noreferrer' }, address);
	return [link, found.slice(address.length)];
}

export function bubble(item, { first, last, mine, named, state }, actions) {
	const clock = el('span', { title: date.format(item.at) }, time.format(item.at));
	const meta = el('span', { class: 'meta' }, clock, mine && icon(state), mine && spoken(STATES[state]));
	const who = el('b', { class: named && first && !mine ? 'who' : 'sr', dir: 'auto' }, mine ? 'You' : item.from);
	const parts = item.text.split(ADDRESS).flatMap((part, index) => (index % 2 ? linked(part) : part));
	const text = el('span', { class: JUST_EMOJI.test(item.text) ? 'text emoji' : 'text', dir: 'auto' }, ...parts);
	const line = el('div', { class: `line ${state} ${mine ? 'mine' : ''} ${first ? 'first' : ''}` });
	if (named && !mine) line.append(last ? face(item.from) : el('span', { class: 'avatar none' }));
	line.append(el('div', { class: 'bubble' }, tint(who, item.from), text, meta));
	if (state === 'failed') {
		const buttons = Object.entries(actions).map(([label, onclick]) => el('button', { onclick }, label));
		line.append(el('p', { class: 'failure' }, `${item.unknown ? 'It may have been sent.' : 'Not sent.'} ${item.why} `, ...buttons));
	}
	return line;
}

export function gapLine(reason) {
	const afresh = reason === 'epoch' || reason === 'rollback';
	const why = afresh ? 'may be missing here. The server’s log was set back.' : 'are missing here. The server no longer holds them.';
	return el('li', { class: 'gap' }, `Messages ${why}`);
}
