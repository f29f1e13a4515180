// @ts-check
// Owns the message that the address names, until it is on the screen: loads older messages as far as it takes.

import { loadOlder } from './pages.js';
import { message as texts } from './strings.js';

/** @import { Conversation } from './conversation.js' */
/** @import { Session } from './session.js' */

/** The most pages of older messages that are loaded for it. */
const MOST_PAGES = 15;

/**
 * @param {Session} session
 * @param {(id: string) => boolean} show Scrolls to a message of the open conversation, if it is loaded.
 */
export function linkedMessage(session, show) {
	/** @type {{ conv: Conversation, id: string, pages: number, first: string } | null} */
	let wanted = null;
	return {
		/**
		 * @param {Conversation} conv
		 * @param {string | undefined} id
		 */
		want(conv, id) {
			wanted = id ? { conv, id, pages: 0, first: '' } : null;
		},
		render() {
			if (!wanted || wanted.conv !== session.current) return;
			const { conv, id } = wanted;
			if (show(id)) {
				wanted = null;
				// The same link can be opened again.
				return history.replaceState(null, '', `#${conv.key}`);
			}
			if (conv.refused || !session.canSay(conv)) return;
			if (conv.isRoom && !conv.position) return;
			const first = conv.items.find((item) => item.from !== undefined)?.id ?? '';
			// Ids are ordered by time.
			const isOlder = !first || id < first;
			if (isOlder && conv.more && wanted.pages < MOST_PAGES) {
				if (conv.loading) return;
				if (first !== wanted.first || !wanted.pages) wanted.pages += 1;
				wanted.first = first;
				loadOlder(session, conv);
			} else {
				wanted = null;
				session.on.notice(texts.linkedIsGone);
			}
		},
	};
}
