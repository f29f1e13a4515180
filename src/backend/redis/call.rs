//! Calls to a server. Owns how a command, a pipeline or a script is sent over a connection, also to a server that a slot is
//! moving to; chooses no server. Sent by the command connections and the pool.

use redis::{Cmd, Pipeline, RedisError, Value};

use super::connection::Connection;
use super::error::is_no_script;
use super::script::Script;

/// One call, whose keys are all in one slot.
pub(super) enum Call<'a> {
    /// A command.
    Command(&'a Cmd),
    /// Commands, one directly after the other. The reply is an array with that of each.
    Pipeline(&'a Pipeline),
    /// A script; `fill` appends that many keys, then the arguments.
    Script(&'a Script, usize, &'a (dyn Fn(&mut Cmd) + Send + Sync)),
    /// A script, and right behind it a command. The reply is an array with those of both.
    ScriptThen(&'a Script, usize, &'a (dyn Fn(&mut Cmd) + Send + Sync), &'a Cmd),
}

impl Call<'_> {
    /// Sends the call. `asking`: the server answers though the slot is only moving to it.
    ///
    /// # Errors
    /// An error of the connection, or an error reply. Errors inside the array of a script are values: each concerns one item.
    pub(super) async fn send(&self, connection: &mut Connection, asking: bool) -> Result<Value, RedisError> {
        match self {
            Self::Command(command) => send(connection, command, asking).await,
            Self::Pipeline(pipeline) if asking => {
                with_asking(pipeline.cmd_iter()).query_async(&mut **connection).await.map(every_second)
            }
            Self::Pipeline(pipeline) => pipeline.query_async(&mut **connection).await,
            Self::Script(script, keys, fill) => {
                match send(connection, &script.by_hash(*keys, fill), asking).await {
                    Err(error) if is_no_script(&error) => {
                        send(connection, &script.by_text(*keys, fill), asking).await
                    }
                    reply => reply,
                }
            }
            Self::ScriptThen(script, keys, fill, then) => {
                match send_both(connection, script.by_hash(*keys, fill), then, asking).await {
                    Err(error) if is_no_script(&error) => {
                        send_both(connection, script.by_text(*keys, fill), then, asking).await
                    }
                    reply => reply,
                }
            }
        }
    }
}

async fn send(connection: &mut Connection, command: &Cmd, asking: bool) -> Result<Value, RedisError> {
    if !asking {
        return connection.send_packed_command(command).await.and_then(checked);
    }
    let replies = connection.send_packed_commands(&with_asking([command]), 1, 1).await?;
    checked(replies.into_iter().next().unwrap_or(Value::Nil))
}

/// Sends a call, and right behind it a command.
async fn send_both(
    connection: &mut Connection,
    call: Cmd,
    then: &Cmd,
    asking: bool,
) -> Result<Value, RedisError> {
    let mut both = if asking { with_asking([&call]) } else { Pipeline::new() };
    if !asking {
        both.add_command(call);
    }
    both.add_command(then.clone());
    let replies = connection.send_packed_commands(&both, usize::from(asking), 2).await?;
    Ok(Value::Array(replies.into_iter().map(checked).collect::<Result<_, _>>()?))
}

/// The commands, each after the word that lets a server answer it for a slot that is moving there.
fn with_asking<'a>(commands: impl IntoIterator<Item = &'a Cmd>) -> Pipeline {
    let mut pipeline = Pipeline::new();
    for command in commands {
        pipeline.cmd("ASKING");
        pipeline.add_command(command.clone());
    }
    pipeline
}

/// The replies to the commands of [`with_asking`], without those to `ASKING`.
fn every_second(replies: Value) -> Value {
    match replies {
        Value::Array(replies) => Value::Array(replies.into_iter().skip(1).step_by(2).collect()),
        other => other,
    }
}

/// Turns an error reply into an error: redis-rs returns it as a value.
fn checked(value: Value) -> Result<Value, RedisError> {
    match value {
        Value::ServerError(error) => Err(error.into()),
        value => Ok(value),
    }
}
