// @ts-check
// Builds the element of a message. Keeps no state.

import { el, face, icon, spoken, tint } from './dom.js';
import { format } from './format.js';
import { attachmentsOf } from './attachments.js';
import { markMentions } from './mentions.js';
import { reactionsOf } from './reactions.js';
import { message as texts, timeline } from './strings.js';

/** @import { Look, Message, Note, Unsent } from './page.d.ts' */

const time = new Intl.DateTimeFormat([], { hour: '2-digit', minute: '2-digit' });
const date = new Intl.DateTimeFormat([], { dateStyle: 'full' });

const JUST_EMOJI = /^[\p{Extended_Pictographic}\p{Emoji_Modifier}\p{Regional_Indicator}\u200d\ufe0f\s]{1,24}$/u;

/** @param {number} at */
export const midnight = (at) => new Date(at).setHours(0, 0, 0, 0);

/** @param {number} at */
export function dayOf(at) {
	const days = Math.round((midnight(Date.now()) - midnight(at)) / 86_400_000);
	return timeline.days[days] ?? date.format(at);
}

/** @param {Message | Unsent} item */
export const actionsLabel = (item) => texts.actions(item.from, time.format(item.at));

/**
 * What belongs to a message beside itself.
 * @typedef {object} Around
 * @property {[string, () => void][]} actions The buttons below a message that was not sent: label and effect.
 * @property {(button: HTMLElement) => void} menu Opens the menu of the message.
 * @property {{ from: string, text: string } | null} quote What is shown of the message that it answers.
 * @property {() => void} toAnswered Goes to that message.
 * @property {string} me
 * @property {(reaction: string) => void} toggle Adds the user's own reaction, or takes it back.
 */

/**
 * @param {Message | Unsent} item
 * @param {Look} look
 * @param {Around} around
 */
export function bubble(item, { first, last, mine, named, state }, around) {
	const { actions, menu, me, toggle } = around;
	const clock = el('span', { title: date.format(item.at), dir: 'auto' }, time.format(item.at));
	const edited = item.state || !item.version || item.retracted ? null : el('span', {}, texts.edited);
	const meta = el('span', { class: 'meta' }, edited, clock, mine && icon(state), mine && spoken(texts.states[state]));
	const sender = el(
		'b',
		{ class: named && first && !mine ? 'who' : 'sr', dir: 'auto' },
		mine ? texts.you : item.from,
	);
	const gone = !item.state && item.retracted;
	const look = JUST_EMOJI.test(item.text) ? 'text emoji' : 'text';
	const why = item.state ? '' : whyGone(item);
	const text = gone
		? el('i', { class: 'text' }, why)
		: el('span', { class: look, dir: 'auto' }, ...format(item.text));
	const mentions = item.mentions ?? [];
	markMentions(text, mentions, me);
	const isCalled = !mine && mentions.includes(me);
	const files = item.state ? null : attachmentsOf(item.attachments);
	const reactions = item.state ? null : reactionsOf(item, me, toggle);
	const line = el('div', { class: `line ${state} ${mine ? 'mine' : ''} ${first ? 'first' : ''}` });
	if (named && !mine) line.append(last ? face(item.from) : el('span', { class: 'avatar none' }));
	const called = isCalled && spoken(texts.mentionsYou);
	// Beside the reactions there is place for it.
	reactions?.append(meta);
	const parts = [tint(sender, item.from), called, answered(around), text, files, reactions ?? meta];
	line.append(el('div', { class: isCalled ? 'bubble called' : 'bubble' }, ...parts));
	const more = el('button', { class: 'more', type: 'button', tabindex: '-1', 'aria-haspopup': 'menu' }, icon('more'));
	Object.assign(more, { ariaLabel: actionsLabel(item), ariaExpanded: 'false', onclick: () => menu(more) });
	line.append(more);
	if (item.state === 'failed') {
		const buttons = actions.map(([label, onclick]) => el('button', { onclick }, label));
		const problem = item.unknown ? texts.maybeSent : texts.notSent;
		line.append(el('p', { class: 'failure' }, `${problem} ${item.why} `, ...buttons));
	}
	return line;
}

/**
 * The beginning of the message that is answered.
 * @param {Around} around
 */
function answered({ quote, toAnswered }) {
	if (!quote) return null;
	const from = quote.from && el('b', {}, el('bdi', {}, quote.from));
	const props = { class: 'answered', type: 'button', tabindex: '-1', title: texts.toAnswered, onclick: toAnswered };
	return el('button', props, spoken(texts.answers), from, el('span', { dir: 'auto' }, quote.text));
}

/**
 * What stands in the place of a message that was taken back.
 * @param {Message} item
 */
export function whyGone({ moderated, moderator }) {
	if (!moderated) return texts.deleted;
	return moderator ? texts.deletedBy(moderator) : texts.deletedByAdmin;
}

/**
 * @param {Note} note
 * @param {string | false} day
 */
export function noteLine({ note, at }, day) {
	const text = el('p', { class: 'note', dir: 'auto', title: time.format(at) }, note);
	return el('li', {}, day && el('p', { class: 'day' }, day), text);
}

/** @param {string} reason */
export function gapLine(reason) {
	const isReset = reason === 'epoch' || reason === 'rollback';
	const text = reason === 'too_many' ? timeline.tooMany : timeline.gone;
	return el('li', { class: 'gap' }, isReset ? timeline.lostByServer : text);
}
