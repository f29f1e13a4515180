// @ts-check
// The fragment of the page's address: which conversation it opens, and at which message. Keeps nothing.

import { tidy } from './dom.js';

/** @import { Kind } from './page.d.ts' */

const FRAGMENT = /^#(room|peer)=(.+?)(?:&message=([\da-f-]{36}))?$/;

/** What the address names. */
export function address() {
	const found = FRAGMENT.exec(location.hash);
	try {
		return (
			found && {
				kind: /** @type {Kind} */ (found[1]),
				name: tidy(decodeURIComponent(found[2])),
				message: found[3],
			}
		);
	} catch {
		return null;
	}
}

/**
 * @param {string} [key] The key of a conversation.
 * @param {string} [message] The id of a message.
 */
export function linkTo(key = '', message) {
	return new URL(message ? `#${key}&message=${message}` : `#${key}`, location.href).href;
}
