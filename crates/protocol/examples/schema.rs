//! Prints the JSON Schema of the protocol:
//! `cargo run -p chatnode-protocol --features schema --example schema > docs/protocol.schema.json`

fn main() -> serde_json::Result<()> {
    println!("{}", serde_json::to_string_pretty(&chatnode_protocol::schema())?);
    Ok(())
}
