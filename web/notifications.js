// @ts-check
// Owns the notifications on the desktop: for private messages, mentions, and the rooms whose every message the user wants. None
// is shown before the user has switched them on.

import { choices } from './choices.js';
import { plain } from './format.js';
import { notifications as texts } from './strings.js';

/** @import { Conversation } from './conversation.js' */
/** @import { Level, Message } from './page.d.ts' */
/** @import { Session } from './session.js' */

/** In ms: a busy conversation shows one notification in this time, with its newest message. */
const AT_MOST_EVERY = 3_000;
const LONGEST_TEXT = 200;

/**
 * `unsupported` stands for browsers without them, and for pages that come over plain http.
 * @returns {NotificationPermission | 'unsupported'}
 */
export function permission() {
	return 'Notification' in window && isSecureContext ? Notification.permission : 'unsupported';
}

/** The first line of a message, without characters that would turn the text around it. */
const firstLine = (/** @type {string} */ text) =>
	(plain(text).split('\n', 1)[0] ?? '').replace(/\p{Bidi_Control}/gu, '').slice(0, LONGEST_TEXT);

/**
 * @param {Session} session
 * @param {(conv: Conversation) => Level} levelOf
 * @param {(conv: Conversation) => void} open Shows a conversation.
 */
export function notifications(session, levelOf, open) {
	/**
	 * By the key of the conversation.
	 * @type {Map<string, Notification>}
	 */
	const shown = new Map();
	/**
	 * The newest messages that wait, because their conversations have just shown one.
	 * @type {Map<string, Message | null>}
	 */
	const waiting = new Map();

	/**
	 * @param {Conversation} conv
	 * @param {Message} item
	 */
	function show(conv, item) {
		const { key } = conv;
		waiting.set(key, null);
		setTimeout(next, AT_MOST_EVERY, conv);
		const { mentioned, inRoom } = texts;
		const inThisRoom = conv.calledIn(item) ? mentioned : inRoom;
		const title = conv.isRoom ? inThisRoom(item.from, conv.title) : item.from;
		// With the same tag, the tabs of a user show one notification together.
		const tag = `${session.name} ${key}`;
		try {
			const options = { body: firstLine(item.text), icon: '/assets/icon.svg', tag, renotify: true };
			const notification = new Notification(title, /** @type {NotificationOptions} */ (options));
			notification.onclick = () => {
				notification.close();
				window.focus();
				open(conv);
			};
			notification.onclose = () => shown.get(key) === notification && shown.delete(key);
			shown.set(key, notification);
		} catch {
			// Chrome on Android has no notifications of pages, only of service workers.
		}
	}

	/** @param {Conversation} conv */
	function next(conv) {
		const item = waiting.get(conv.key);
		waiting.delete(conv.key);
		if (item && conv.unread) show(conv, item);
	}

	return {
		/**
		 * @param {Conversation} conv
		 * @param {Message} item
		 * @param {boolean} isSeen Whether the user has the conversation on the screen.
		 */
		arrived(conv, item, isSeen) {
			const level = levelOf(conv);
			const isWanted = level === 'all' || (level === 'counted' && conv.calledIn(item));
			if (isSeen || !isWanted || !choices.notify || permission() !== 'granted') return;
			if (waiting.has(conv.key)) waiting.set(conv.key, item);
			else show(conv, item);
		},
		/** What was read, here or elsewhere, needs no notification any more. */
		render() {
			for (const [key, notification] of shown) if (!session.conversations.get(key)?.unread) notification.close();
		},
		end() {
			for (const notification of shown.values()) notification.close();
			waiting.clear();
		},
	};
}
