// Owns the list of messages on the screen: a window of a few hundred over a conversation of any length, where it is
// scrolled to, days, groups and the `New` line. What a line looks like is message.js. Called by app.js.

import { dayOf, sameDay } from './clock.js';
import { $, el, say } from './dom.js';
import { bubble, gapLine, presenceLine } from './message.js';

/** Elements at a time, however long the conversation. */
const WINDOW = 300;
const STEP = 100;
/** Nearer to an end than this (CSS px), more is brought. */
const NEAR = 700;
const GROUP_WITHIN = 5 * 60_000;

export class Timeline {
  /** At the end, so that new messages are seen and followed. */
  following = true;
  #session;
  #edit;
  #conv = null;
  #start = 0;
  #end = 0;
  #shown = new Map();
  #seenUpTo = 0;
  #toDivider = false;
  #scroller = $('scroller');
  #list = $('timeline');

  constructor(session, edit) {
    this.#session = session;
    this.#edit = edit;
    this.#scroller.onscroll = () => this.#scrolled();
    $('jump').onclick = () => this.toEnd();
    // A phone's keyboard, a growing composer, a turned screen: who was at the end stays there.
    this.resizing = new ResizeObserver(() => this.following && this.#pin());
    this.resizing.observe(this.#scroller);
    this.resizing.observe(this.#list);
  }

  end() {
    this.resizing.disconnect();
    this.#list.replaceChildren();
  }

  toEnd() {
    this.following = true;
    this.#end = Infinity;
    this.render();
  }

  render() {
    const conv = this.#session.current;
    if (conv !== this.#conv) this.#turnTo(conv);
    if (!conv) return this.#list.replaceChildren();
    const { items, base } = conv;
    const total = base + items.length;
    if (this.following || this.#end > total) this.#end = total;
    if (this.#end < total && this.#end - this.#start < WINDOW) this.#end = Math.min(total, this.#start + WINDOW);
    if (this.following || this.#end - this.#start > WINDOW) this.#start = Math.max(this.#start, this.#end - WINDOW);
    this.#start = Math.max(base, this.#start);
    if (this.#end - this.#start < STEP) this.#start = Math.max(base, this.#end - WINDOW);

    const anchor = this.following ? null : this.#anchor();
    const pending = this.#end === total ? this.#session.outbox.of(conv) : [];
    this.#place([...items.slice(this.#start - base, this.#end - base), ...pending], items[this.#start - base - 1], conv);
    say($('older'), this.#beginning(conv));

    if (this.#toDivider && conv.divider && this.#shown.has(conv.divider)) {
      this.following = false;
      this.#scroller.scrollTop = this.#shown.get(conv.divider).node.offsetTop - this.#scroller.clientHeight / 3;
      this.#scrolled();
    } else if (this.following) this.#pin();
    else if (anchor) this.#scroller.scrollTop += anchor.node.offsetTop - anchor.top;
    this.#toDivider = false;
    if (this.following) this.#seenUpTo = total;
    this.#jump(total - this.#seenUpTo);
    if (this.#scroller.scrollTop < NEAR && this.#start === base) this.#session.loadOlder(conv);
  }

  #turnTo(conv) {
    this.#conv = conv;
    this.#list.replaceChildren();
    this.#shown.clear();
    this.following = true;
    if (!conv) return;
    this.#scroller.setAttribute('aria-label', `Messages, ${conv.title}`);
    const divider = conv.items.indexOf(conv.divider);
    this.#toDivider = divider >= 0;
    this.#end = divider >= 0 ? Math.min(conv.items.length, divider + WINDOW / 2) + conv.base : conv.base + conv.items.length;
    this.#start = this.#end - WINDOW;
    if (this.#toDivider) this.following = false;
    this.#seenUpTo = conv.base + conv.items.length;
  }

  /** Keyed: an item keeps its element, and a new one is only built where something that shows has changed. */
  #place(wanted, before, conv) {
    const keep = new Set(wanted);
    for (const [item, { node }] of this.#shown) {
      if (keep.has(item)) continue;
      node.remove();
      this.#shown.delete(item);
    }
    let next = this.#list.firstChild;
    for (let index = 0; index < wanted.length; index += 1) {
      const item = wanted[index];
      const look = this.#look(item, wanted[index - 1] ?? before, wanted[index + 1], conv);
      const shown = this.#shown.get(item);
      let node = shown?.node;
      const sign = JSON.stringify(look);
      if (shown?.sign !== sign) {
        const fresh = this.#build(item, look, conv);
        if (node === next) next = node?.nextSibling ?? null;
        node?.remove();
        node = fresh;
        this.#shown.set(item, { node, sign });
      }
      if (node === next) next = next.nextSibling;
      else this.#list.insertBefore(node, next);
    }
  }

  #look(item, before, after, conv) {
    if (item.type !== 'message') return { version: item.version };
    const joins = (a, b) => a?.from && a.from === b?.from && Math.abs(b.at - a.at) < GROUP_WITHIN && sameDay(a.at, b.at) && b !== conv.divider;
    const mine = item.from === conv.me;
    const read = mine && !conv.isRoom && !item.state && item.id <= conv.peerRead;
    return {
      day: before?.type === 'message' && sameDay(before.at, item.at) ? undefined : this.#day(item, before, conv),
      first: !joins(before, item),
      last: !joins(item, after),
      mine,
      named: conv.isRoom,
      state: read ? 'read' : (item.state ?? 'stored'),
      at: item.at,
      fresh: item === conv.divider,
      expired: item.state === 'failed' && this.#session.outbox.expired(item),
    };
  }

  /** The day, unless the last message before (beyond gaps and comings) was of the same one. */
  #day(item, before, conv) {
    if (before && before.type !== 'message') {
      let index = conv.items.indexOf(before);
      while (index >= 0 && conv.items[index].type !== 'message') index -= 1;
      if (index >= 0 && sameDay(conv.items[index].at, item.at)) return undefined;
    }
    return dayOf(item.at);
  }

  #build(item, look, conv) {
    if (item.type === 'gap') return el('li', {}, gapLine(item));
    if (item.type === 'presence') return el('li', {}, presenceLine(item));
    const { outbox } = this.#session;
    const again = () => outbox.retry(conv, item);
    const drop = () => (outbox.discard(item), this.#session.changed());
    const edit = () => (outbox.discard(item), this.#edit(item.text));
    const actions = [[look.expired ? 'Send again' : 'Retry', again], ['Edit', edit], ['Delete', drop]];
    return el('li', {},
      look.day && el('p', { class: 'day' }, look.day),
      look.fresh && el('p', { class: 'fresh' }, 'New'),
      bubble(item, look, actions));
  }

  #beginning(conv) {
    if (conv.refused) return `You can’t enter: ${conv.refused}`;
    if (conv.loading) return 'Loading earlier messages…';
    if (conv.more) return '';
    if (conv.items.some((item) => item.from)) return 'This is as far back as the server remembers.';
    return conv.isRoom ? 'Nothing has been said here yet.' : `The beginning of your conversation with ${conv.name}.`;
  }

  #anchor() {
    const top = this.#scroller.scrollTop;
    for (const node of this.#list.children) {
      if (node.offsetTop + node.offsetHeight > top) return { node, top: node.offsetTop };
    }
    return null;
  }

  #pin() {
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    const conv = this.#conv;
    if (!conv) return;
    const total = conv.base + conv.items.length;
    const below = scrollHeight - scrollTop - clientHeight;
    const was = this.following;
    this.following = below < 40 && this.#end >= total;
    const up = scrollTop < NEAR && this.#start > conv.base;
    const down = below < NEAR && this.#end < total;
    if (up) {
      this.#start = Math.max(conv.base, this.#start - STEP);
      this.#end = Math.min(this.#end, this.#start + WINDOW);
    } else if (down) {
      this.#end = Math.min(total, this.#end + STEP);
      this.#start = Math.max(this.#start, this.#end - WINDOW);
    }
    if (up || down || was !== this.following || scrollTop < NEAR) this.#session.on.changed();
  }

  #jump(fresh) {
    $('jump').hidden = this.following;
    say($('jump-text'), fresh > 0 ? `${fresh} new` : 'Latest');
  }
}
