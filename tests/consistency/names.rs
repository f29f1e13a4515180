//! The names of rooms and users, by their numbers. Used wherever one is sent or received.

pub fn room_name(room: u16) -> String {
    format!("room-{room:02}")
}

pub fn user_name(user: u16) -> String {
    format!("user-{user:03}")
}

pub fn room_number(name: &str) -> Option<u16> {
    name.strip_prefix("room-")?.parse().ok()
}

pub fn user_number(name: &str) -> Option<u16> {
    name.strip_prefix("user-")?.parse().ok()
}
