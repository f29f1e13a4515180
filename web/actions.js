// @ts-check
// What a user can do with a message: the entries of its menu. Keeps nothing.

import { linkTo } from './address.js';
import { copy } from './clipboard.js';
import { isMuted, outranks, whyReadOnly } from './rights.js';
import { openField, openReactions } from './reactions.js';
import { message as texts, reactions } from './strings.js';

/** @import { Conversation } from './conversation.js' */
/** @import { Entry } from './menu.js' */
/** @import { Message, Unsent } from './page.d.ts' */
/** @import { Session } from './session.js' */

/** What people choose most. */
const REACTIONS = ['👍', '❤️', '😂', '🎉'];

/**
 * @param {() => HTMLElement | null} opener
 * @param {(button: HTMLElement) => void} open
 */
function at(opener, open) {
	const button = opener();
	if (button) open(button);
}

/**
 * Shows why a change failed.
 * @param {Session} session
 * @param {Promise<string>} change
 */
async function tried(session, change) {
	const problem = await change;
	if (problem) session.on.notice(problem);
}

/** @type {(item: Message, reaction: string) => boolean} A reaction can have the name of a property of all objects. */
const hasMine = (item, reaction) =>
	Object.entries(item.reactions).some(([known, { mine }]) => known === reaction && mine);

/**
 * Adds the user's own reaction, or takes it back.
 * @param {Session} session
 * @param {Conversation} conv
 * @param {Message | Unsent} item
 * @param {string} reaction
 */
export function toggle(session, conv, item, reaction) {
	if (item.state) return;
	const on = !hasMine(item, reaction);
	tried(session, session.change(conv, 'React', { message_id: item.id, reaction, on }));
}

/**
 * @param {Session} session
 * @param {Conversation} conv
 * @param {Message} item
 * @param {() => HTMLElement | null} opener
 * @returns {Entry[]}
 */
function changes(session, conv, item, opener) {
	/** @type {Entry[]} */
	const entries = [];
	const mine = item.from === session.name;
	const { id: message_id } = item;
	if (session.features.has('react') && !isMuted(conv.rights ?? {})) {
		for (const reaction of REACTIONS) {
			const label = hasMine(item, reaction) ? reactions.takeBack(reaction) : reactions.react(reaction);
			entries.push({ label, run: () => toggle(session, conv, item, reaction) });
		}
		const add = (/** @type {string} */ reaction) =>
			session.change(conv, 'React', { message_id, reaction, on: true });
		entries.push({ label: reactions.other, run: () => at(opener, (button) => openField(button, add, opener)) });
	}
	if (mine && !whyReadOnly(conv) && session.features.has('edit'))
		entries.push({ label: texts.edit, run: () => session.on.editing(conv, item) });
	if ((mine || outranks(conv, item.from)) && session.features.has('retract'))
		entries.push({
			label: texts.delete,
			run: () => tried(session, session.change(conv, 'Retract', { message_id })),
		});
	return entries;
}

/**
 * @param {Session} session
 * @param {Conversation} conv
 * @param {Message | Unsent} item
 * @param {() => HTMLElement | null} opener The button of the menu, which can be built anew meanwhile.
 * @returns {Entry[]}
 */
export function actionsFor(session, conv, item, opener) {
	/** @type {(text: string, done: string) => () => Promise<void>} */
	const copies = (text, done) => async () => {
		if (await copy(text)) session.on.notice(done);
	};
	/** @type {Entry[]} */
	const entries = [];
	if (!item.state && !item.retracted && !whyReadOnly(conv) && session.features.has('reply_to'))
		entries.push({ label: texts.reply, run: () => session.on.answering(conv, item) });
	if (item.text) entries.push({ label: texts.copyText, run: copies(item.text, texts.textCopied) });
	// Only what is stored has a place to link to.
	if (!item.state) {
		const done = conv.isRoom ? texts.linkCopied : texts.privateLinkCopied;
		entries.push({ label: texts.copyLink, run: copies(linkTo(conv.key, item.id), done) });
	}
	if (!item.state && !item.retracted && session.canSay(conv)) entries.push(...changes(session, conv, item, opener));
	if (!item.state && Object.keys(item.reactions).length) {
		const open = (/** @type {HTMLElement} */ button) => openReactions(button, item, session.name, opener);
		entries.push({ label: reactions.who, run: () => at(opener, open) });
	}
	return entries;
}
