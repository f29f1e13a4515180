// @ts-check
// What a user can do with a message: the entries of its menu. Keeps nothing.

import { linkTo } from './address.js';
import { copy } from './clipboard.js';
import { message as texts } from './strings.js';

/** @import { Conversation } from './conversation.js' */
/** @import { Entry } from './menu.js' */
/** @import { Message, Unsent } from './page.d.ts' */
/** @import { Session } from './session.js' */

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
	const entries = [{ label: texts.copyText, run: copies(item.text, texts.textCopied) }];
	// Only what is stored has a place to link to.
	if (!item.state) {
		const done = conv.isRoom ? texts.linkCopied : texts.privateLinkCopied;
		entries.push({ label: texts.copyLink, run: copies(linkTo(conv.key, item.id), done) });
	}
	return entries;
}
