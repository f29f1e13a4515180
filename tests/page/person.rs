//! A user of the page: reads the screen and presses keys. Owns one window of the browser. Used by the tests.

use std::time::{Duration, Instant};

use base64::Engine;
use serde_json::{Value, json};

use super::browser::Browser;

/// How long the page may take for what it does. A browser gets little time while other tests run.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// The Enter key in WebDriver.
pub const ENTER: &str = "\u{e007}";
/// The Shift key in WebDriver, held until it is sent again.
pub const SHIFT: &str = "\u{e008}";

/// Every message on the screen, oldest first.
const MESSAGES: &str = "[...document.querySelectorAll('#timeline .text')].map((text) => text.textContent)";

/// One window.
pub struct Person<'a> {
    browser: &'a Browser,
    window: String,
}

impl<'a> Person<'a> {
    /// Opens the page in a window, without signing in.
    pub async fn visits(browser: &'a Browser, address: &str) -> Self {
        Self::visits_in(browser, browser.window().await, address).await
    }

    async fn visits_in(browser: &'a Browser, window: String, address: &str) -> Self {
        let person = Self { browser, window };
        person.goes_to(address).await;
        person
    }

    /// Opens the page and signs in.
    pub async fn signs_in(browser: &'a Browser, address: &str, name: &str) -> Self {
        Self::visits(browser, address).await.enters(name).await
    }

    /// The same in the first window of the browser, for a browser on a screen, where one window covers the others.
    pub async fn signs_in_on_screen(browser: &'a Browser, address: &str, name: &str) -> Self {
        let window = browser.first_window().await;
        Self::visits_in(browser, window, address).await.enters(name).await
    }

    async fn enters(self, name: &str) -> Self {
        let person = self;
        person.sees("the page asks for a name", "!document.getElementById('sign-in').hidden").await;
        // Another window of this browser may have left a name.
        person.js("document.getElementById('name').value = ''").await;
        person.types("#name", &format!("{name}{ENTER}")).await;
        person.is_online().await;
        person
    }

    pub async fn goes_to(&self, address: &str) {
        self.post("/url", json!({ "url": address })).await;
    }

    pub async fn reloads(&self) {
        self.post("/refresh", json!({})).await;
    }

    /// Opens a conversation by the key in its link: `room=…`, `peer=…`.
    pub async fn opens(&self, key: &str) {
        self.run("location.hash = arguments[0]", json!([key])).await;
        let title = key.replace("room=", "#").replace("peer=", "");
        self.sees(
            &format!("{title} is open"),
            &format!("document.getElementById('title').textContent === {}", json!(title)),
        )
        .await;
    }

    pub async fn is_online(&self) {
        self.sees("the page is online", "document.querySelector('#me small')?.textContent === 'Online'")
            .await;
    }

    /// Types a message and sends it.
    pub async fn says(&self, text: &str) {
        self.types("#draft", &format!("{text}{ENTER}")).await;
    }

    /// Presses keys in a field.
    pub async fn types(&self, selector: &str, text: &str) {
        let element = self.element(selector).await;
        self.post(&format!("/element/{element}/value"), json!({ "text": text })).await;
    }

    pub async fn clicks(&self, selector: &str) {
        let element = self.element(selector).await;
        self.post(&format!("/element/{element}/click"), json!({})).await;
    }

    async fn element(&self, selector: &str) -> String {
        let found = self.post("/element", json!({ "using": "css selector", "value": selector })).await;
        found.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned()
    }

    /// The value of an expression in the page.
    pub async fn js(&self, expression: &str) -> Value {
        self.run(&format!("return ({expression})"), json!([])).await
    }

    async fn run(&self, script: &str, args: Value) -> Value {
        self.post("/execute/sync", json!({ "script": script, "args": args })).await
    }

    /// Records the value of an expression in the page's array `told` whenever the text of an element is set.
    pub async fn notes(&self, id: &str, expression: &str) {
        let watch = format!(
            "(window.told = [], new MutationObserver(() => told.push({expression}))
            .observe(document.getElementById('{id}'), {{ childList: true }}), true)"
        );
        assert_eq!(self.js(&watch).await, true);
    }

    /// Waits until an expression in the page is true.
    pub async fn sees(&self, what: &str, expression: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.js(expression).await != true {
            if Instant::now() > deadline {
                let page = self.js("document.body.innerText").await;
                panic!("never came true: {what}; the page says:\n{}", page.as_str().unwrap_or_default());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the text of an element contains this.
    pub async fn reads(&self, selector: &str, text: &str) {
        let expression =
            format!("document.querySelector({})?.textContent.includes({})", json!(selector), json!(text));
        self.sees(&format!("{selector} says {text}"), &expression).await;
    }

    /// The messages on the screen, oldest first.
    pub async fn messages(&self) -> Vec<String> {
        serde_json::from_value(self.js(MESSAGES).await).unwrap()
    }

    /// Waits until exactly these messages are on the screen, in this order.
    pub async fn sees_messages(&self, wanted: &[&str]) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let messages = self.messages().await;
            if messages == wanted {
                return;
            }
            assert!(Instant::now() < deadline, "wanted {wanted:?}, the page shows {messages:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until a conversation shows this number of unread messages in the list.
    pub async fn unread(&self, key: &str, count: u64) {
        let link = json!(format!("#sidebar a[href='#{key}'] .badge"));
        let expression =
            format!("(document.querySelector({link})?.firstChild.textContent ?? '0') === '{count}'");
        self.sees(&format!("{count} unread in {key}"), &expression).await;
    }

    /// Sets the inner size of the window, and the preferred colour scheme.
    pub async fn has_screen(&self, width: u32, height: u32, is_dark: bool) {
        let metrics =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 720 });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
        let scheme = if is_dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": features })).await;
        self.sees("the window has its size", &format!("innerWidth === {width}")).await;
    }

    /// Sends a command of the DevTools protocol, and returns its answer.
    pub async fn devtools(&self, command: &str, params: Value) -> Value {
        self.post("/goog/cdp/execute", json!({ "cmd": command, "params": params })).await
    }

    /// Presses keys at the element with the focus.
    pub async fn presses(&self, keys: &[&str]) {
        let downs = keys.iter().map(|key| json!({ "type": "keyDown", "value": key }));
        let ups = keys.iter().rev().map(|key| json!({ "type": "keyUp", "value": key }));
        let actions: Vec<Value> = downs.chain(ups).collect();
        let keyboard = json!({ "type": "key", "id": "keyboard", "actions": actions });
        self.post("/actions", json!({ "actions": [keyboard] })).await;
    }

    /// A screenshot of the window, as PNG.
    pub async fn screenshot(&self) -> Vec<u8> {
        self.look().await;
        let picture = self.browser.get("/screenshot").await;
        base64::engine::general_purpose::STANDARD.decode(picture.as_str().unwrap()).unwrap()
    }

    async fn look(&self) {
        self.browser.post("/window", json!({ "handle": self.window })).await;
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        self.look().await;
        self.browser.post(path, body).await
    }
}
