// Owns what one line of a conversation looks like: a message, a gap, comings and goings. It keeps no state. Called by
// the timeline.

import { fullTimeOf, timeOf } from './clock.js';
import { avatar, el, hue, icon, spoken } from './dom.js';

/** No white space, and no direction marks that would let an address read as another one. */
const ADDRESS = /\bhttps?:\/\/[^\s<>"\u200e\u200f\u202a-\u202e\u2066-\u2069]+/giu;
const JUST_EMOJI = /^(?:\p{Extended_Pictographic}|\p{Emoji_Modifier}|\p{Regional_Indicator}|[\u200d\ufe0f\s])+$/u;

const LOST = {
  epoch: 'The server’s log of this conversation started afresh. Messages may be missing here.',
  rollback: 'The server went back to an older copy. Messages may be missing here.',
  too_many: 'You missed more messages than can be caught up. Some are not shown here.',
};
const STATE = { waiting: ['wait', 'Waiting to be sent'], sending: ['wait', 'Sending'], failed: ['fail', 'Not sent'] };

/** Text with its http and https addresses as links; everything else stays text. */
export function linked(text) {
  const parts = [];
  let from = 0;
  for (const match of text.matchAll(ADDRESS)) {
    let address = match[0].replace(/[.,;:!?'’”…*_]+$/, '');
    while (/[)\]}]$/.test(address) && !balanced(address)) address = address.slice(0, -1);
    if (!URL.canParse?.(address)) continue;
    const rel = 'noopener noreferrer';
    parts.push(text.slice(from, match.index), el('a', { href: new URL(address).href, target: '_blank', rel }, address));
    from = match.index + address.length;
  }
  parts.push(text.slice(from));
  return parts;
}

function balanced(address) {
  const count = (chars) => [...address].filter((char) => chars.includes(char)).length;
  return count('([{') >= count(')]}');
}

function isEmoji(text) {
  if (text.length > 40 || !JUST_EMOJI.test(text)) return false;
  const graphemes = Intl.Segmenter ? [...new Intl.Segmenter().segment(text)] : [...text];
  return graphemes.length <= 3;
}

/** `look`: `first`, `last` of its group, `mine`, `named`, `state`; `actions` are the buttons of a failed one. */
export function bubble(item, look, actions) {
  const [mark, words] = STATE[look.state] ?? (look.state === 'read' ? ['read', 'Read'] : ['sent', 'Sent']);
  const time = el('time', { datetime: new Date(item.at).toISOString(), title: fullTimeOf(item.at) }, timeOf(item.at));
  const meta = el('span', { class: 'meta' }, time, look.mine && icon(mark), look.mine && spoken(words));
  const who = el('b', { class: look.named && look.first ? 'who' : 'sr', dir: 'auto' }, look.mine ? 'You' : item.from);
  who.style.setProperty('--hue', hue(item.from));
  const text = el('span', { class: isEmoji(item.text) ? 'text emoji' : 'text', dir: 'auto' }, ...linked(item.text));
  const line = el('div', { class: `line ${look.state}${look.mine ? ' mine' : ''}${look.first ? ' first' : ''}${look.last ? ' last' : ''}` });
  if (look.named && !look.mine) line.append(look.last ? avatar(item.from) : el('span', { class: 'avatar none' }));
  line.append(el('div', { class: 'bubble' }, who, text, meta));
  if (look.state === 'failed') {
    const buttons = actions.map(([label, act]) => el('button', { type: 'button', onclick: act }, label));
    line.append(el('p', { class: 'failure' }, `Not sent. ${item.why} `, ...buttons));
  }
  return line;
}

export function gapLine({ reason }) {
  return el('p', { class: 'gap' }, LOST[reason] ?? 'Messages are missing here. The server no longer holds them.');
}

export function presenceLine({ changes }) {
  const said = [];
  for (const [here, verb] of [[true, 'joined'], [false, 'left']]) {
    const users = [...changes].filter(([, value]) => value === here).map(([user]) => el('bdi', {}, user));
    if (!users.length) continue;
    if (said.length) said.push(' · ');
    for (const [index, user] of users.slice(0, 5).entries()) said.push(index ? ', ' : '', user);
    said.push(users.length > 5 ? ` and ${users.length - 5} more ${verb}` : ` ${verb}`);
  }
  return el('p', { class: 'event' }, ...said);
}
