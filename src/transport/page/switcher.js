// Owns the dialog that goes anywhere: to a conversation, a room by its name, a person. Called by app.js.

import { $, el, tidy } from './dom.js';

const MOST = 8;

export class Switcher {
  #session;
  #choices = [];
  #at = 0;
  #dialog = $('switcher');
  #field = $('find');

  constructor(session) {
    this.#session = session;
    this.#field.oninput = () => this.#search();
    this.#field.onkeydown = (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (step && this.#choices.length) this.#mark((this.#at + step + this.#choices.length) % this.#choices.length);
      else if (event.key === 'Enter' && !event.isComposing) this.#go(this.#choices[this.#at]);
      else return;
      event.preventDefault();
    };
    this.#dialog.onclick = (event) => event.target === this.#dialog && this.#dialog.close();
  }

  open() {
    this.#field.value = '';
    this.#search();
    this.#dialog.showModal();
  }

  #search() {
    const typed = tidy(this.#field.value);
    const name = typed.replace(/^[#@]/, '');
    const room = (each) => ({ kind: 'room', name: each });
    const peer = (each) => ({ kind: 'peer', name: each });
    const people = new Set(this.#session.list('peer').map((conv) => conv.name));
    for (const conv of this.#session.list('room')) for (const member of conv.members ?? []) people.add(member);
    people.delete(this.#session.name);
    let all = [...this.#session.list('room').map((conv) => room(conv.name)), ...[...people].map(peer)];
    if (typed[0] === '#') all = all.filter((each) => each.kind === 'room');
    if (typed[0] === '@') all = all.filter((each) => each.kind === 'peer');
    const low = name.toLocaleLowerCase();
    const found = all.filter((each) => each.name.toLocaleLowerCase().includes(low)).slice(0, MOST);
    for (const each of name ? [room(name), peer(name)] : []) {
      const known = found.some((other) => other.kind === each.kind && other.name === each.name);
      if (!known && typed[0] !== (each.kind === 'room' ? '@' : '#')) found.push({ ...each, fresh: true });
    }
    this.#choices = found;
    $('found').replaceChildren(...found.map((choice, index) => this.#option(choice, index)));
    this.#mark(0);
  }

  #option(choice, index) {
    const { kind, name, fresh } = choice;
    const verb = fresh && (kind === 'room' ? 'Join ' : 'Write to ');
    const label = el('bdi', {}, kind === 'room' ? `#${name}` : name);
    return el('li', { role: 'option', id: `choice-${index}`, onclick: () => this.#go(choice) }, verb, label);
  }

  #mark(index) {
    this.#at = index;
    [...$('found').children].forEach((node, at) => node.setAttribute('aria-selected', at === index));
    this.#field.setAttribute('aria-activedescendant', this.#choices.length ? `choice-${index}` : '');
    $('found').children[index]?.scrollIntoView({ block: 'nearest' });
  }

  #go(choice) {
    if (!choice) return;
    this.#dialog.close();
    location.hash = `${choice.kind}=${encodeURIComponent(choice.name)}`;
  }
}
