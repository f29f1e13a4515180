// Owns which messages are on the screen: a window over any length, days, groups.

import { $, el, say } from './dom.js';
import { bubble, dayOf, gapLine, midnight } from './message.js';

const WINDOW = 200;
const STEP = 80;
/** In px: nearer to an end, more is brought. */
const NEAR = 700;
const GROUP_WITHIN = 300_000;

export function timeline(session, edit) {
	const scroller = $('scroller');
	const list = $('timeline');
	const shown = new Map();
	let conv, seenUpTo, toDivider, lastTop, lastHeight;
	/** Absolute indices. */
	let start, end;
	const view = { following: true, toEnd, render, end: turn };

	// A phone's keyboard: who was at the end stays there.
	const resizing = new ResizeObserver(() => conv && view.following && pin());
	resizing.observe(scroller);
	resizing.observe(list);
	scroller.onscroll = scrolled;
	$('jump').onclick = toEnd;

	const total = () => conv.base + conv.items.length;
	const below = () => scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight;

	function pin() {
		scroller.scrollTop = scroller.scrollHeight;
		lastTop = scroller.scrollTop;
		lastHeight = scroller.clientHeight;
	}

	function toEnd() {
		view.following = true;
		render();
	}

	function turn(to) {
		conv = to;
		list.replaceChildren();
		shown.clear();
		if (!conv) return;
		scroller.ariaLabel = `Messages, ${conv.title}`;
		const divider = conv.items.indexOf(conv.divider);
		toDivider = divider >= 0;
		view.following = !toDivider;
		seenUpTo = total();
		end = toDivider ? Math.min(total(), conv.base + divider + WINDOW / 2) : total();
		start = end - WINDOW;
	}

	function render() {
		if (session.current !== conv) turn(session.current);
		if (!conv) return;
		const { items, base } = conv;
		const { scrollTop } = scroller;
		conv.held = !view.following;
		// The oldest may have been let go.
		end = Math.max(end, base + Math.min(WINDOW, items.length));
		if (view.following) end = total();
		else if (scrollTop < NEAR && start > base) {
			start = Math.max(base, start - STEP);
			end = Math.min(end, start + WINDOW);
		} else if (below() < NEAR) end = Math.min(total(), end + STEP);
		if (end - start < STEP || end - start > WINDOW) start = end - WINDOW;
		start = Math.max(base, start);

		const anchor = !view.following && [...list.children].find((node) => node.offsetTop + node.offsetHeight > scrollTop);
		const top = anchor?.offsetTop;
		const unsent = end === total() ? session.outbox.of(conv) : [];
		lay([...items.slice(start - base, end - base), ...unsent]);
		say($('older'), beginning());

		if (toDivider && shown.has(conv.divider)) {
			scroller.scrollTop = shown.get(conv.divider).offsetTop - scroller.clientHeight / 3;
			lastTop = Infinity;
			scrolled();
		} else if (view.following) pin();
		// By item: its element may be another now.
		else if (shown.has(anchor?.item)) scroller.scrollTop += shown.get(anchor.item).offsetTop - top;
		toDivider = false;

		if (view.following) seenUpTo = total();
		$('jump').hidden = view.following;
		say($('jump'), `↓ ${total() > seenUpTo ? `${total() - seenUpTo} new` : 'Latest'}`);
		if (scroller.scrollTop < NEAR && start === conv.base) session.loadOlder(conv);
	}

	function lay(wanted) {
		const keep = new Set(wanted);
		for (const [item, node] of shown) {
			if (keep.has(item)) continue;
			node.remove();
			shown.delete(item);
		}
		let next = list.firstChild;
		wanted.forEach((item, index) => {
			const look = lookOf(item, wanted[index - 1], wanted[index + 1]);
			const sign = JSON.stringify(look);
			let node = shown.get(item);
			if (node?.sign !== sign) {
				if (node === next) next = node.nextSibling;
				node?.remove();
				node = Object.assign(build(item, look), { item, sign });
				shown.set(item, node);
			}
			if (node === next) next = node.nextSibling;
			else list.insertBefore(node, next);
		});
	}

	function lookOf(item, before, after) {
		if (!item.from) return {};
		const sameDay = (a, b) => a && midnight(a.at) === midnight(b.at);
		const joins = (a, b) => b && a?.from === b.from && b !== conv.divider && b.at - a.at < GROUP_WITHIN && sameDay(a, b);
		const mine = item.from === conv.me;
		const read = mine && !conv.isRoom && !item.state && item.id <= conv.peerRead;
		return {
			day: !sameDay(before, item) && dayOf(item.at),
			divider: item === conv.divider,
			first: !joins(before, item),
			last: !joins(item, after),
			mine,
			named: conv.isRoom,
			state: read ? 'read' : (item.state ?? 'stored'),
			expired: item.state === 'failed' && session.outbox.expired(item),
		};
	}

	function build(item, look) {
		if (item.gap) return gapLine(item.gap);
		const { retry, discard } = session.outbox;
		const actions = {
			[look.expired ? 'Send again' : 'Retry']: () => retry(conv, item),
			Edit: () => (discard(item), edit(item.text)),
			Delete: () => discard(item),
		};
		const line = (kind, text) => text && el('p', { class: kind }, text);
		return el('li', {}, line('day', look.day), line('divider', look.divider && 'New'), bubble(item, look, actions));
	}

	function beginning() {
		if (conv.refused) return `You can’t enter: ${conv.refused}`;
		if (conv.more) return conv.loading ? 'Loading earlier messages…' : '';
		return conv.items.length ? 'The server remembers no more.' : 'Nothing has been said here yet.';
	}

	function scrolled() {
		if (!conv) return;
		const { scrollTop } = scroller;
		const was = view.following;
		// The event comes late: growth below, or another height, must not look like scrolling up.
		const moved = scrollTop < lastTop && scroller.clientHeight === lastHeight;
		view.following = was ? below() < 40 || !moved : below() < 40 && end >= total();
		lastTop = scrollTop;
		if (was !== view.following || scrollTop < NEAR || below() < NEAR) session.on.changed();
	}

	return view;
}
