// @ts-check
// Owns the messages on the screen: a window over any number of messages, with days and groups.

import { actionsFor, toggle } from './actions.js';
import { $, el, say } from './dom.js';
import { openMenu } from './menu.js';
import { actionsLabel, bubble, dayOf, gapLine, midnight, noteLine } from './message.js';
import { loadOlder } from './pages.js';
import { quoteOf } from './reply.js';
import { menuButton, roving, sameControl } from './roving.js';
import { message as messageTexts, timeline as texts } from './strings.js';

/** @import { Conversation } from './conversation.js' */
/** @import { Session } from './session.js' */
/** @import { Item, Look, Message, Unsent } from './page.d.ts' */
/** @typedef {HTMLLIElement & { item: Item, look: string }} Line An element of the list, with what it shows. */

const WINDOW = 200;
const STEP = 80;
/** In px: nearer to an end of the window, it moves. */
const NEAR = 700;
/** In ms: so long after another height of the list, the browser may move it by itself, to where the old height ended. */
const SETTLING = 3_000;
/** In px: a move down that ends nearer to the end of the conversation follows it again. */
const AT_END = 40;
/** In px: browsers round positions. */
const ROUNDING = 1;
const GROUP_WITHIN = 300_000;

/** @type {(a: Item | undefined, b: Item) => boolean} */
const sameDay = (a, b) => a?.at !== undefined && b.at !== undefined && midnight(a.at) === midnight(b.at);

/** When the user last did something that may scroll. */
let usedAt = 0;
for (const input of ['wheel', 'touchmove', 'keydown', 'pointerdown'])
	addEventListener(input, () => (usedAt = performance.now()), { capture: true, passive: true });

/**
 * @param {Session} session
 * @param {(item: Unsent) => void} edit
 */
export function timeline(session, edit) {
	const scroller = $('scroller');
	const list = $('timeline');
	/** @type {Map<Item, Line>} */
	const shown = new Map();
	/** @type {Conversation | null} */
	let conv = null;
	/** The absolute index after the last message that was on the screen. */
	let seenUpTo = 0;
	/**
	 * The message that the next render scrolls to.
	 * @type {Message | null}
	 */
	let goal = null;
	let lastTop = 0;
	let lastHeight = 0;
	let resizedAt = 0;
	/** The window, in absolute indices. */
	let start = 0;
	let end = 0;
	const view = { following: true, toEnd, show, render, end: () => turn(null) };
	const stops = roving(list);

	// When the keyboard of a phone opens, the end of the list stays visible.
	const resizing = new ResizeObserver(() => {
		track();
		if (conv && view.following) pin();
	});
	resizing.observe(scroller);
	resizing.observe(list);
	scroller.onscroll = scrolled;
	$('jump').onclick = toEnd;

	/** @param {Conversation} of */
	const total = (of) => of.base + of.items.length;
	const below = () => scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight;

	/**
	 * Only where it changes something: in WebKit, any write ends a smooth scroll.
	 * @param {number} top
	 */
	function moveTo(top) {
		const most = scroller.scrollHeight - scroller.clientHeight;
		if (Math.abs(Math.min(top, most) - scroller.scrollTop) >= ROUNDING) scroller.scrollTop = top;
	}

	function pin() {
		moveTo(scroller.scrollHeight);
		lastTop = scroller.scrollTop;
		lastHeight = scroller.clientHeight;
	}

	function toEnd() {
		moveTo(scroller.scrollHeight);
		lastTop = scroller.scrollTop;
		view.following = true;
		render();
	}

	/**
	 * Scrolls to a message of the conversation, and gives it the focus. Returns whether it is loaded.
	 * @param {string} id
	 */
	function show(id) {
		const index = conv ? conv.items.findIndex((item) => item.id === id) : -1;
		if (!conv || index < 0) return false;
		goal = /** @type {Message} */ (conv.items[index]);
		const item = goal;
		view.following = false;
		end = Math.min(total(conv), conv.base + index + WINDOW / 2);
		start = end - WINDOW;
		render();
		const line = shown.get(item);
		line?.classList.add('found');
		menuButton(line)?.focus({ preventScroll: true });
		return true;
	}

	/** @param {Conversation | null} to */
	function turn(to) {
		conv = to;
		list.replaceChildren();
		shown.clear();
		if (!conv) return;
		scroller.ariaLabel = texts.region(conv.title);
		const divider = conv.divider ? conv.items.indexOf(conv.divider) : -1;
		goal = divider >= 0 ? conv.divider : null;
		view.following = !goal;
		seenUpTo = total(conv);
		end = goal ? Math.min(seenUpTo, conv.base + divider + WINDOW / 2) : seenUpTo;
		start = end - WINDOW;
	}

	function render() {
		const turned = session.current !== conv;
		if (turned) turn(session.current);
		// The event of a scroll may still be on its way.
		else track();
		if (!conv) return;
		const { items, base } = conv;
		const { scrollTop } = scroller;
		const all = total(conv);
		conv.held = !view.following;
		// The oldest messages may have been dropped.
		end = Math.max(end, base + Math.min(WINDOW, items.length));
		if (view.following) end = all;
		// The list of another conversation is still empty, so it has no place yet.
		else if (turned || goal) end = Math.min(end, all);
		else if (scrollTop < NEAR && start > base) {
			start = Math.max(base, start - STEP);
			end = Math.min(end, start + WINDOW);
		} else if (below() < NEAR) end = Math.min(all, end + STEP);
		if (end - start < STEP || end - start > WINDOW) start = end - WINDOW;
		start = Math.max(base, start);

		const lines = /** @type {Line[]} */ ([...list.children]);
		const anchor = view.following
			? undefined
			: lines.find((node) => node.offsetTop + node.offsetHeight > scrollTop);
		const top = anchor?.offsetTop ?? 0;
		const unsent = end === all ? session.outbox.of(conv) : [];
		lay(conv, [...items.slice(start - base, end - base), ...unsent]);
		say($('older'), beginning(conv));

		const wanted = goal && shown.get(goal);
		// The item of the anchor may have another element now.
		const anchored = anchor && shown.get(anchor.item);
		if (wanted) {
			moveTo(wanted.offsetTop - scroller.clientHeight / 3);
			view.following = atEnd();
			session.on.changed();
		} else if (view.following) pin();
		else if (anchored) moveTo(scroller.scrollTop + anchored.offsetTop - top);
		lastTop = scroller.scrollTop;
		lastHeight = scroller.clientHeight;
		goal = null;

		if (view.following) seenUpTo = all;
		$('jump').hidden = view.following;
		say($('jump'), all > seenUpTo ? texts.newer(all - seenUpTo) : texts.newest);
		if (scroller.scrollTop < NEAR && start === conv.base) loadOlder(session, conv);
	}

	/**
	 * Makes the list show these items, with as few changes as possible.
	 * @param {Conversation} conv
	 * @param {Item[]} wanted
	 */
	function lay(conv, wanted) {
		const keep = new Set(wanted);
		for (const [item, node] of shown) {
			if (keep.has(item)) continue;
			// The focus must not fall out of the list.
			if (node.contains(document.activeElement)) scroller.focus({ preventScroll: true });
			node.remove();
			shown.delete(item);
		}
		let next = list.firstChild;
		wanted.forEach((item, index) => {
			const day = !sameDay(wanted[index - 1], item) && item.at !== undefined && dayOf(item.at);
			const look = item.from === undefined ? day : lookOf(conv, item, day, wanted[index - 1], wanted[index + 1]);
			const json = JSON.stringify(look);
			let node = shown.get(item);
			const focused = node?.contains(document.activeElement) && document.activeElement;
			if (node?.look !== json) {
				if (node && node === next) next = node.nextSibling;
				node?.remove();
				const line = () => (item.note === undefined ? gapLine(item.gap ?? '') : noteLine(item, day));
				const built = item.from === undefined ? line() : build(conv, item, /** @type {Look} */ (look));
				node = Object.assign(built, { item, look: json });
				shown.set(item, node);
			}
			if (node === next) next = node.nextSibling;
			else list.insertBefore(node, next);
			if (focused && !node.contains(document.activeElement))
				sameControl(node, focused)?.focus({ preventScroll: true });
		});
		stops.update();
	}

	/**
	 * @param {Conversation} conv
	 * @param {Message | Unsent} item
	 * @param {string | false} day
	 * @param {Item | undefined} before
	 * @param {Item | undefined} after
	 * @returns {Look}
	 */
	function lookOf(conv, item, day, before, after) {
		/** @type {(a: Item | undefined, b: Item | undefined) => boolean} */
		const joins = (a, b) => {
			if (a?.from === undefined || b?.from === undefined) return false;
			return a.from === b.from && b !== conv.divider && b.at - a.at < GROUP_WITHIN && sameDay(a, b);
		};
		const mine = item.from === conv.me;
		const isRead = mine && !conv.isRoom && !item.state && item.id <= conv.peerRead;
		return {
			day,
			divider: item === conv.divider,
			first: !joins(before, item),
			last: !joins(item, after),
			mine,
			named: conv.isRoom,
			state: isRead ? 'read' : (item.state ?? 'stored'),
			expired: item.state === 'failed' && session.outbox.expired(item),
			revision: JSON.stringify([revisionOf(item), revisionOf(conv.byId.get(item.replyTo ?? ''))]),
		};
	}

	/** @param {Message | Unsent | undefined} item */
	const revisionOf = (item) => item && !item.state && [item.version, item.retracted, item.reactions];

	/**
	 * @param {Conversation} conv
	 * @param {Message | Unsent} item
	 * @param {Look} look
	 */
	function build(conv, item, look) {
		const { retry, discard } = session.outbox;
		const change = () => {
			discard(/** @type {Unsent} */ (item));
			edit(/** @type {Unsent} */ (item));
		};
		/** @type {[string, () => void][]} */
		const actions = item.state
			? [
					[look.expired ? messageTexts.sendAgain : messageTexts.retry, () => retry(conv, item)],
					[messageTexts.edit, change],
					[messageTexts.delete, () => discard(item)],
				]
			: [];
		const { replyTo } = item;
		const opener = () => menuButton(shown.get(item));
		const around = {
			actions,
			/** @param {HTMLElement} button */
			menu: (button) => openMenu(button, actionsLabel(item), actionsFor(session, conv, item, opener), opener),
			quote: replyTo ? quoteOf(conv, replyTo) : null,
			toAnswered: () => replyTo && session.on.wanted(conv, replyTo),
			me: session.name,
			/** @param {string} reaction */
			toggle: (reaction) => toggle(session, conv, item, reaction),
		};
		/** @type {(kind: string, text: string | false) => HTMLElement | null} */
		const line = (kind, text) => (text ? el('p', { class: kind }, text) : null);
		return el(
			'li',
			{},
			line('day', look.day),
			line('divider', look.divider && texts.divider),
			bubble(item, look, around),
		);
	}

	/**
	 * The text above the oldest message.
	 * @param {Conversation} conv
	 */
	function beginning(conv) {
		if (conv.refused) return conv.out ? conv.refused : texts.refused(conv.refused);
		if (conv.more) return conv.loading ? texts.loading : '';
		return conv.items.length ? texts.noEarlier : texts.empty;
	}

	const atEnd = () => conv !== null && end >= total(conv) && below() < AT_END;

	/**
	 * Notices where the user scrolled to. The first frame of a smooth scroll moves by a few px only, so the direction
	 * decides whether the view follows the end of the conversation, not the distance: any move up leaves the end, and
	 * only a move down comes back to it.
	 */
	function track() {
		const { scrollTop, clientHeight } = scroller;
		if (clientHeight !== lastHeight) resizedAt = performance.now();
		// Another height of the list must not look as if the user scrolled.
		const moved = clientHeight === lastHeight ? scrollTop - lastTop : 0;
		if (moved < 0 && below() >= ROUNDING) {
			const bySelf = usedAt < resizedAt && performance.now() - resizedAt <= SETTLING;
			if (view.following && bySelf) return pin();
			view.following = false;
		} else if (moved > 0 && atEnd()) view.following = true;
		lastTop = scrollTop;
		lastHeight = clientHeight;
	}

	function scrolled() {
		if (!conv) return;
		const was = view.following;
		track();
		if (was !== view.following || scroller.scrollTop < NEAR || below() < NEAR) session.on.changed();
	}

	return view;
}
