//! Drives ezsockets, without its own attempts to reconnect: they heed no time that a node names.

use chatnode_drivers::{Command, closed, commands, failed, is_unadvised, opened, text, work};
use ezsockets::client::ClientCloseMode;
use ezsockets::{Bytes, Client, ClientConfig, ClientExt, CloseFrame, Error, Utf8Bytes, WSError};

struct Handler;

/// What happens after an end. By default, the library comes back by itself, after 5 s.
fn after_the_end() -> ClientCloseMode {
    if is_unadvised() { ClientCloseMode::Reconnect } else { ClientCloseMode::Close }
}

#[async_trait::async_trait]
impl ClientExt for Handler {
    type Call = ();

    async fn on_text(&mut self, message: Utf8Bytes) -> Result<(), Error> {
        text(&message);
        work().await;
        Ok(())
    }

    async fn on_binary(&mut self, _: Bytes) -> Result<(), Error> {
        Ok(())
    }

    async fn on_call(&mut self, (): ()) -> Result<(), Error> {
        Ok(())
    }

    async fn on_connect(&mut self) -> Result<(), Error> {
        opened();
        Ok(())
    }

    async fn on_connect_fail(&mut self, error: WSError) -> Result<ClientCloseMode, Error> {
        failed(error);
        Ok(after_the_end())
    }

    async fn on_close(&mut self, frame: Option<CloseFrame>) -> Result<ClientCloseMode, Error> {
        match frame {
            Some(frame) => closed(Some(frame.code.into()), &frame.reason),
            None => closed(None, ""),
        }
        Ok(after_the_end())
    }

    async fn on_disconnect(&mut self) -> Result<ClientCloseMode, Error> {
        closed(None, "");
        Ok(after_the_end())
    }
}

#[tokio::main]
async fn main() {
    let mut commands = commands();
    let mut client: Option<Client<Handler>> = None;
    while let Some(command) = commands.recv().await {
        match (command, &client) {
            (Command::Open(url), _) => {
                // The client tells by its handler how the connection ends.
                let (opened, ending) = ezsockets::connect(|_| Handler, ClientConfig::new(url.as_str())).await;
                tokio::spawn(ending);
                client = Some(opened);
            }
            (Command::Send(text), Some(client)) => drop(client.text(text)),
            (Command::Close, Some(client)) => drop(client.close(None)),
            _ => {}
        }
    }
}
