// @ts-check
// Lets screen readers speak new messages, at most once per second.

import { announce } from './dom.js';
import { plain } from './format.js';
import { spokenNews as texts } from './strings.js';

/** @import { Conversation } from './conversation.js' */
/** @import { Message } from './page.d.ts' */

/**
 * The new messages that are not spoken yet.
 * @type {string[]}
 */
let unspoken = [];

/**
 * @param {Conversation} conv
 * @param {Message} item
 * @param {boolean} isOpen Whether the conversation is the one on the screen.
 */
export function speak(conv, item, isOpen) {
	if (isOpen) unspoken.push(texts.here(item.from, plain(item.text)));
	else if (!conv.isRoom) unspoken.push(texts.toYou(item.from));
	else unspoken.push((conv.calledIn(item) ? texts.mentioned : texts.inRoom)(item.from, conv.title));
	if (unspoken.length > 1) return;
	setTimeout(() => {
		announce(unspoken.length > 3 ? texts.many(unspoken.length) : texts.joined(unspoken));
		unspoken = [];
	}, 1000);
}
