// @ts-check
// Builds the element of a message. Keeps no state.

import { el, face, icon, spoken, tint } from './dom.js';
import { message as texts, timeline } from './strings.js';

/** @import { Look, Message, Unsent } from './page.d.ts' */

const time = new Intl.DateTimeFormat([], { hour: '2-digit', minute: '2-digit' });
const date = new Intl.DateTimeFormat([], { dateStyle: 'full' });

/** Without direction marks: with them, an address could look like another one. */
const ADDRESS = /\b(https?:\/\/[^\s<>"\p{Bidi_Control}]+)/iu;
const PUNCTUATION = ".,;:!?'’”…*]}";
const JUST_EMOJI = /^[\p{Extended_Pictographic}\p{Emoji_Modifier}\p{Regional_Indicator}\u200d\ufe0f\s]{1,24}$/u;

/** @param {number} at */
export const midnight = (at) => new Date(at).setHours(0, 0, 0, 0);

/** @param {number} at */
export function dayOf(at) {
	const days = Math.round((midnight(Date.now()) - midnight(at)) / 86_400_000);
	return timeline.days[days] ?? date.format(at);
}

/**
 * The length of an address without the punctuation and the brackets of the sentence around it. Needs linear time, since
 * a whole message can consist of brackets.
 * @param {string} address
 */
function endOf(address) {
	let unopened = address.split(')').length - address.split('(').length;
	let end = address.length;
	for (; ; end -= 1) {
		const last = address[end - 1];
		if (last === ')' && unopened > 0) unopened -= 1;
		else if (!PUNCTUATION.includes(last)) return end;
	}
}

/** @param {string} found */
function linked(found) {
	const address = found.slice(0, endOf(found));
	if (!URL.canParse(address)) return found;
	const link = el('a', { href: address, target: '_blank', rel: 'noopener noreferrer' }, address);
	return [link, found.slice(address.length)];
}

/**
 * @param {Message | Unsent} item
 * @param {Look} look
 * @param {[string, () => void][]} actions The buttons below a message that was not sent: label and effect.
 */
export function bubble(item, { first, last, mine, named, state }, actions) {
	const clock = el('span', { title: date.format(item.at) }, time.format(item.at));
	const meta = el('span', { class: 'meta' }, clock, mine && icon(state), mine && spoken(texts.states[state]));
	const sender = el(
		'b',
		{ class: named && first && !mine ? 'who' : 'sr', dir: 'auto' },
		mine ? texts.you : item.from,
	);
	const parts = item.text.split(ADDRESS).flatMap((part, index) => (index % 2 ? linked(part) : part));
	const text = el('span', { class: JUST_EMOJI.test(item.text) ? 'text emoji' : 'text', dir: 'auto' }, ...parts);
	const line = el('div', { class: `line ${state} ${mine ? 'mine' : ''} ${first ? 'first' : ''}` });
	if (named && !mine) line.append(last ? face(item.from) : el('span', { class: 'avatar none' }));
	line.append(el('div', { class: 'bubble' }, tint(sender, item.from), text, meta));
	if (item.state === 'failed') {
		const buttons = actions.map(([label, onclick]) => el('button', { onclick }, label));
		const problem = item.unknown ? texts.maybeSent : texts.notSent;
		line.append(el('p', { class: 'failure' }, `${problem} ${item.why} `, ...buttons));
	}
	return line;
}

/** @param {string} reason */
export function gapLine(reason) {
	const isReset = reason === 'epoch' || reason === 'rollback';
	const text = reason === 'too_many' ? timeline.tooMany : timeline.gone;
	return el('li', { class: 'gap' }, isReset ? timeline.lostByServer : text);
}
