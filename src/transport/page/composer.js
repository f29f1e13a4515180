// Owns the text that is being written: its draft per conversation, its size, its keys. Called by app.js.

import { $ } from './dom.js';

export class Composer {
  #session;
  #field = $('draft');
  #conv = null;

  constructor(session, sent) {
    this.#session = session;
    this.#field.oninput = () => {
      this.#grow();
      this.#conv.draft = this.#field.value;
      session.save();
      if (this.#field.value) session.typing(this.#conv);
    };
    this.#field.onkeydown = (event) => {
      // While an input method composes, Enter is its own.
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing || event.keyCode === 229) return;
      event.preventDefault();
      $('composer').requestSubmit();
    };
    $('composer').onsubmit = (event) => {
      event.preventDefault();
      const text = this.#field.value.trim();
      this.#field.focus();
      if (!text || !this.#conv) return;
      session.say(this.#conv, text);
      this.#set('');
      sent();
    };
  }

  render() {
    const conv = this.#session.current;
    if (conv === this.#conv) return;
    this.#conv = conv;
    $('composer').hidden = !conv;
    if (!conv) return;
    this.#field.placeholder = `Message ${conv.title}`;
    this.#field.setAttribute('aria-label', `Message ${conv.title}`);
    this.#set(conv.draft);
  }

  /** A message that was not sent comes back to be edited, before what is being written. */
  take(text) {
    this.#conv.draft = [text, this.#field.value].filter(Boolean).join('\n');
    this.#set(this.#conv.draft);
    this.#field.focus();
    this.#session.changed();
  }

  focus() {
    this.#field.focus();
  }

  #set(text) {
    this.#field.value = text;
    this.#grow();
  }

  #grow() {
    this.#field.style.height = 'auto';
    this.#field.style.height = `${this.#field.scrollHeight}px`;
    $('send').disabled = !this.#field.value.trim();
  }
}
