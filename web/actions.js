// @ts-check
// What a user can do with a message: the entries of its menu. Keeps nothing.

import { linkTo } from './address.js';
import { copy } from './clipboard.js';
import { message as texts } from './strings.js';

/** @import { Conversation } from './conversation.js' */
/** @import { Entry } from './menu.js' */
/** @import { Message, Unsent } from './page.d.ts' */
/** @import { Session } from './session.js' */

/** What people choose most. */
const REACTIONS = ['👍', '❤️', '😂', '🎉'];

/**
 * @param {Session} session
 * @param {Conversation} conv
 * @param {Message} item
 * @returns {Entry[]}
 */
function changes(session, conv, item) {
	/** @type {Entry[]} */
	const entries = [];
	const mine = item.from === session.name;
	if (session.features.has('react')) {
		for (const reaction of REACTIONS) {
			const on = !Object.entries(item.reactions).some(([known, { mine }]) => known === reaction && mine);
			const run = () => session.change(conv, 'React', { message_id: item.id, reaction, on });
			entries.push({ label: on ? texts.react(reaction) : texts.takeBack(reaction), run });
		}
	}
	if (mine && session.features.has('edit'))
		entries.push({ label: texts.edit, run: () => session.on.editing(conv, item) });
	if (mine && session.features.has('retract'))
		entries.push({
			label: texts.delete,
			run: () => session.change(conv, 'Retract', { message_id: item.id }),
		});
	return entries;
}

/**
 * @param {Session} session
 * @param {Conversation} conv
 * @param {Message | Unsent} item
 * @returns {Entry[]}
 */
export function actionsFor(session, conv, item) {
	/** @type {(text: string, done: string) => () => Promise<void>} */
	const copies = (text, done) => async () => {
		if (await copy(text)) session.on.notice(done);
	};
	/** @type {Entry[]} */
	const entries = [];
	if (item.text) entries.push({ label: texts.copyText, run: copies(item.text, texts.textCopied) });
	// Only what is stored has a place to link to.
	if (!item.state) {
		const done = conv.isRoom ? texts.linkCopied : texts.privateLinkCopied;
		entries.push({ label: texts.copyLink, run: copies(linkTo(conv.key, item.id), done) });
	}
	if (!item.state && !item.retracted && session.canSay(conv)) entries.push(...changes(session, conv, item));
	return entries;
}
