//! The thread that writes to the terminal. Owns what the terminal shows, and which cells have to be written anew; decides
//! neither what is shown nor when. A terminal that takes nothing (Ctrl+S, a slow line) stops only this thread. Called by the
//! terminal.

use std::io::{self, BufWriter, Write};
use std::time::Duration;

use crossterm::QueueableCommand;
use crossterm::cursor::MoveTo;
use crossterm::terminal::{Clear, ClearType};
use ratatui::backend::{Backend, CrosstermBackend};
use ratatui::buffer::{Buffer, Cell, CellWidth};
use ratatui::layout::Position;
use ratatui::style::Modifier;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::modes;

/// A terminal that takes nothing for this time is left without restoring its screen.
const PATIENCE: Duration = Duration::from_secs(1);

/// The buffer in front of the terminal: more than most pictures need, so that a picture arrives as a whole.
const BUFFER_BYTES: usize = 64 * 1024;

/// A finished picture: all cells of the screen, and the place of the cursor.
pub(super) struct Picture {
    pub(super) cells: Buffer,
    pub(super) cursor: Position,
}

enum Order {
    Paint {
        picture: Box<Picture>,
        /// Whether to enter the modes first, and to forget what the terminal shows.
        anew: bool,
    },
    Leave,
}

/// The handle of the thread, which has at most one order at a time. The thread ends with the handle.
pub(super) struct Painter {
    orders: mpsc::Sender<Order>,
    /// One answer for each order.
    answers: mpsc::Receiver<io::Result<()>>,
    is_busy: bool,
    is_anew: bool,
}

impl Painter {
    /// Starts the thread. The first picture enters the modes of the terminal.
    pub(super) fn start() -> io::Result<Self> {
        let out = modes::output()?;
        modes::leave_on_panic();
        let (orders, mut queue) = mpsc::channel(1);
        let (sender, answers) = mpsc::channel(1);
        std::thread::Builder::new().name("painter".into()).spawn(move || {
            let mut canvas = Canvas::new(out);
            while let Some(order) = queue.blocking_recv() {
                let done = match order {
                    Order::Paint { picture, anew } => canvas.obey(*picture, anew),
                    Order::Leave => {
                        canvas.leave();
                        Ok(())
                    }
                };
                if sender.blocking_send(done).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { orders, answers, is_busy: false, is_anew: true })
    }

    /// Whether the last picture is not written yet. No other one is taken meanwhile.
    pub(super) fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// Whatever the terminal shows, and in whatever modes it is: the next picture is painted in full.
    pub(super) fn begin_anew(&mut self) {
        self.is_anew = true;
    }

    /// Starts to paint a picture.
    pub(super) fn paint(&mut self, picture: Picture) {
        let anew = std::mem::take(&mut self.is_anew);
        self.order(Order::Paint { picture: Box::new(picture), anew });
    }

    /// Waits until the last order is done. Cancel safe.
    pub(super) async fn done(&mut self) -> io::Result<()> {
        if !self.is_busy {
            return Ok(());
        }
        let answer = self.answers.recv().await;
        self.is_busy = false;
        answer.unwrap_or_else(|| Err(io::Error::other("the thread that draws has ended")))
    }

    /// Leaves the modes of the terminal. False if it takes nothing: then only its input is restored.
    pub(super) async fn leave(&mut self) -> bool {
        let leaving = async {
            // A picture that could not be painted does not matter any more.
            let _unpainted = self.done().await;
            self.order(Order::Leave);
            self.done().await
        };
        let has_left = matches!(timeout(PATIENCE, leaving).await, Ok(Ok(())));
        if !has_left {
            modes::leave_raw_mode();
        }
        has_left
    }

    fn order(&mut self, order: Order) {
        // The queue has room unless the thread is gone, which its missing answer tells.
        let _gone = self.orders.try_send(order);
        self.is_busy = true;
    }
}

/// What the terminal shows. A change of the size clears it.
struct Canvas<W: Write> {
    terminal: CrosstermBackend<BufWriter<W>>,
    /// Whether the terminal is in the modes of the screen, as far as this program knows.
    has_entered: bool,
    shown: Buffer,
}

impl<W: Write> Canvas<W> {
    fn new(out: W) -> Self {
        let out = BufWriter::with_capacity(BUFFER_BYTES, out);
        Self { terminal: CrosstermBackend::new(out), has_entered: false, shown: Buffer::default() }
    }

    fn obey(&mut self, picture: Picture, anew: bool) -> io::Result<()> {
        if anew {
            self.leave();
            modes::enter(&mut self.terminal)?;
            (self.has_entered, self.shown) = (true, Buffer::default());
        }
        self.paint(picture)
    }

    fn leave(&mut self) {
        if std::mem::take(&mut self.has_entered) {
            modes::leave(&mut self.terminal);
        }
    }

    /// Writes the cells that differ from those shown.
    fn paint(&mut self, picture: Picture) -> io::Result<()> {
        let Picture { cells, cursor } = picture;
        if self.shown.area != cells.area {
            self.terminal.clear()?;
            self.shown = Buffer::empty(cells.area);
        }
        for y in 0..cells.area.height {
            self.forget_if_uncertain(&cells, y)?;
        }
        self.terminal.draw(self.shown.diff_iter(&cells))?;
        self.shown = cells;
        self.terminal.set_cursor_position(cursor)?;
        Backend::flush(&mut self.terminal)
    }

    /// Clears a row that changes if it holds, or is to hold, a character that another terminal may give other columns. Then
    /// all of it is written anew, each cell at its place.
    ///
    /// This goes round a fault of ratatui-core 0.1.2 (findings/ratatui_core_leaves_the_second_cell_of_a_cluster.sh): it takes
    /// each cluster of two columns for one glyph, and does not write its second column anew. Terminals put the second
    /// letter of a cluster such as "स्ते" there, where it then stays.
    fn forget_if_uncertain(&mut self, cells: &Buffer, y: u16) -> io::Result<()> {
        let width = usize::from(cells.area.width);
        let row = usize::from(y) * width..(usize::from(y) + 1) * width;
        let (old, new) = (&mut self.shown.content[row.clone()], &cells.content[row]);
        if old == new || !old.iter().chain(new).any(is_uncertain) {
            return Ok(());
        }
        self.terminal.queue(MoveTo(0, y))?.queue(Clear(ClearType::UntilNewLine))?;
        // No cell of a picture has every modifier.
        let mut unlike = Cell::EMPTY;
        unlike.modifier = Modifier::all();
        old.fill(unlike);
        Ok(())
    }
}

/// Whether terminals may disagree about the columns of a cell: all but a single character of one column.
fn is_uncertain(cell: &Cell) -> bool {
    cell.symbol().chars().nth(1).is_some() || cell.symbol().cell_width() != 1
}
