// Owns what is said about the connection: nothing for a hiccup, then the truth with a countdown, then what came back.
// Called by app.js whenever something changed, and by its own clock while the connection is away.

import { $, say } from './dom.js';

const PATIENCE = 2_000;
const SHOW_BACK = 5_000;

export class Banner {
  #session;
  #shown = false;
  #backUntil = 0;

  constructor(session) {
    this.#session = session;
    this.clock = setInterval(() => this.render(), 250);
    $('banner-retry').onclick = () => session.connection.retryNow();
  }

  end() {
    clearInterval(this.clock);
    $('banner').hidden = true;
  }

  render() {
    const { connection, caughtUp } = this.#session;
    const { state, lostAt, retryAt } = connection;
    const now = Date.now();
    if (state === 'live') {
      if (caughtUp) {
        this.#session.caughtUp = null;
        if (this.#shown || caughtUp.gaps) this.#back(caughtUp, now);
        this.#shown = false;
      }
      if (!this.#shown && now > this.#backUntil) $('banner').hidden = true;
      return;
    }
    if (state === 'stopped' || now - lostAt < PATIENCE) return;
    this.#shown = true;
    const seconds = Math.ceil((retryAt - now) / 1000);
    const offline = navigator.onLine ? 'No connection to the server.' : 'You are offline.';
    const waiting = state === 'waiting' && seconds > 0;
    // Screen readers hear the change of state, not every second of the countdown.
    $('banner').setAttribute('aria-live', waiting ? 'off' : 'polite');
    this.#say(waiting ? `${offline} Trying again in ${seconds} s.` : 'Connecting…', 'away');
    $('banner-retry').hidden = state !== 'waiting';
  }

  #back({ missed, gaps }, now) {
    this.#backUntil = now + SHOW_BACK;
    const count = missed === 1 ? '1 message caught up' : missed ? `${missed} messages caught up` : 'nothing missed';
    this.#say(gaps ? 'Back. Some messages could not be caught up.' : `Back, ${count}.`, gaps ? 'away' : 'back');
    $('banner-retry').hidden = true;
  }

  #say(text, look) {
    $('banner').hidden = false;
    $('banner').className = look;
    say($('banner-text'), text);
  }
}
