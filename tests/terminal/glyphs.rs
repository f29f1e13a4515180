//! Characters that terminals and libraries measure differently leave nothing behind, and none is cut in half.

use crate::support::cluster::{Cluster, Kind};
use crate::window::{CONTROL_A, CONTROL_C, CONTROL_U, Window, pasted};

/// ratatui-core 0.1.2 leaves the second letter of a cluster in its cell.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clusters_of_two_letters_leave_nothing_behind() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let mut bob = cluster.enter(0, "bob", "ops").await;
    let mut ann = Window::start(cluster.address(0), &["--room", "ops"]);
    ann.stands("#ops", "connected").await;
    bob.say("ops", "नमस्ते नमस्ते दुनिया, 👩\u{200d}💻 नमस्ते").await;
    ann.shows("नमस्ते नमस्ते दुनिया,").await;
    // The same cells hold other text, and then none, row by row.
    for number in 0..30 {
        bob.say("ops", if number % 2 == 0 { "a, b, c, d, e, f, g, h, i, j" } else { "x" }).await;
        let foreign = |c: char| ('\u{900}'..='\u{97f}').contains(&c) || c == '💻' || c == '👩';
        ann.shows_so("the messages, and only they", |rows| {
            let said = rows.iter().filter(|row| row.contains("bob: ")).count();
            let is_clean = |row: &String| row.contains("bob: नमस्ते") || !row.contains(foreign);
            said >= 20.min(number + 2) && rows.iter().all(is_clean)
        })
        .await;
    }
    ann.types(CONTROL_C);
    assert_eq!(ann.ended().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prompt_of_70_000_columns_shows_its_cursor() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let mut ann = Window::start(cluster.address(0), &["--room", "ops"]);
    ann.stands("#ops", "connected").await;
    ann.types(&pasted(&format!("{}日本語", "x".repeat(70_000))));
    ann.shows_so("the end", |rows| rows.last().is_some_and(|row| row.ends_with("日本語"))).await;
    let (row, column) = ann.cursor();
    assert_eq!(row, 23);
    // Rows of 97 columns after an indent of two.
    assert_eq!(usize::from(column), 2 + 70_000 % 97 + 6);
    ann.types(CONTROL_A);
    ann.shows_so("the start", |rows| rows.iter().any(|row| row.starts_with("> xxx"))).await;
    assert_eq!(ann.cursor(), (16, 2));
    ann.types("\u{b}");
    ann.prompts(&[">"]).await;
    for wide in ["日", "日本", "x日本"] {
        ann.types(CONTROL_U);
        ann.types(&wide.repeat(60));
        ann.shows_so("all of it", |rows| {
            let rows: String = rows.iter().skip_while(|row| !row.starts_with("> ")).cloned().collect();
            rows.replace([' ', '>'], "") == wide.repeat(60)
        })
        .await;
    }
    ann.types(CONTROL_C);
    assert_eq!(ann.ended().await, 0);
}
