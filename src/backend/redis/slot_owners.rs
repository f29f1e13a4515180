//! The master of each slot of a Redis Cluster. Owns a list of masters and for each slot a place in it, so that a map of all slots is
//! filled and compared as numbers, and the decision between the maps of several servers; asks nobody. Used by the slot reader.

use super::slot::SLOTS;
use crate::config::RedisAddress;

/// Stands for a slot without a master. No list is that long, since every master in it has a slot.
const NOBODY: u16 = u16::MAX;

/// A master and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) id: String,
    pub(super) address: RedisAddress,
}

/// A master for each slot that has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SlotOwners<M> {
    masters: Vec<M>,
    /// For each slot a place in `masters`.
    places: Box<[u16]>,
}

impl<M: PartialEq> SlotOwners<M> {
    /// No slot has a master.
    pub(super) fn nobody() -> Self {
        Self { masters: Vec::new(), places: vec![NOBODY; SLOTS].into() }
    }

    /// Gives the slots from `first` to `last` to a master, or to nobody. `None` if there are no such slots.
    pub(super) fn assign(&mut self, first: usize, last: usize, master: Option<M>) -> Option<()> {
        if first > last || last >= SLOTS {
            return None;
        }
        let place = master.map_or(NOBODY, |master| self.place_of(master));
        self.places[first..=last].fill(place);
        Some(())
    }

    /// The place of a master in the list, to which it is added if it is new.
    fn place_of(&mut self, master: M) -> u16 {
        let known = self.masters.iter().position(|other| *other == master);
        let place = known.unwrap_or_else(|| {
            self.masters.push(master);
            self.masters.len() - 1
        });
        u16::try_from(place).unwrap_or(NOBODY)
    }

    /// The masters. One of a decision or of a reply has a slot, and they are in the order of their first ones.
    pub(super) fn masters(&self) -> &[M] {
        &self.masters
    }

    /// The place of a slot's master in [`Self::masters`].
    pub(super) fn place(&self, slot: usize) -> Option<usize> {
        self.places.get(slot).filter(|place| **place != NOBODY).map(|place| usize::from(*place))
    }

    /// The master of a slot.
    pub(super) fn owner(&self, slot: usize) -> Option<&M> {
        self.masters.get(self.place(slot)?)
    }

    /// The same slots with other names for the masters.
    pub(super) fn map<N>(self, name: impl Fn(M) -> N) -> SlotOwners<N> {
        SlotOwners { masters: self.masters.into_iter().map(name).collect(), places: self.places }
    }
}

/// The master of each slot that most maps name. If as many name another one, the present one wins, and otherwise the first one
/// that is named: a server that is cut off from the others has an old map, and so has one that was just told nothing.
pub(super) fn majority(maps: &[SlotOwners<Owner>], present: &SlotOwners<Owner>) -> SlotOwners<Owner> {
    // Ids are compared only here: further below, each one is its place in this list.
    let mut ids: Vec<&str> = Vec::new();
    for owner in maps.iter().chain([present]).flat_map(SlotOwners::masters) {
        if !ids.contains(&owner.id.as_str()) {
            ids.push(&owner.id);
        }
    }
    let numbers = |owners: &SlotOwners<Owner>| -> Vec<Option<usize>> {
        owners.masters().iter().map(|owner| ids.iter().position(|id| *id == owner.id)).collect()
    };
    let numbers_of_maps: Vec<Vec<Option<usize>>> = maps.iter().map(numbers).collect();
    let present_numbers = numbers(present);
    // For each map and each of its masters the place in the decision, once it is there.
    let mut decided_places: Vec<Vec<Option<u16>>> =
        maps.iter().map(|map| vec![None; map.masters().len()]).collect();
    let (mut decided, mut votes) = (SlotOwners::nobody(), vec![0_u32; ids.len()]);
    for slot in 0..SLOTS {
        // The map, the place of the master in it, and the number of the master.
        let named = || {
            maps.iter().zip(&numbers_of_maps).enumerate().filter_map(move |(map, (owners, numbers))| {
                let place = owners.place(slot)?;
                Some((map, place, numbers[place]?))
            })
        };
        votes.fill(0);
        named().for_each(|(.., number)| votes[number] += 1);
        let Some(most) = votes.iter().copied().max().filter(|most| *most > 0) else { continue };
        let present_number = present.place(slot).and_then(|place| present_numbers[place]);
        let present_number = present_number.filter(|number| votes[*number] == most);
        let is_winner = |number: usize| match present_number {
            Some(present) => number == present,
            None => votes[number] == most,
        };
        let Some((map, place, _)) = named().find(|(.., number)| is_winner(*number)) else { continue };
        let decided_place = &mut decided_places[map][place];
        decided.places[slot] =
            *decided_place.get_or_insert_with(|| decided.place_of(maps[map].masters()[place].clone()));
    }
    decided
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(id: &str, port: u16) -> Owner {
        let address = RedisAddress::Tcp { host: "h".into(), port, is_tls: false };
        Owner { id: id.into(), address }
    }

    /// A map in which these servers have slots 0, 1, and so on. `-` has none.
    fn map(ids: &str) -> SlotOwners<Owner> {
        let mut owners = SlotOwners::nobody();
        for (slot, id) in ids.split_whitespace().enumerate() {
            owners.assign(slot, slot, (id != "-").then(|| owner(id, 1))).unwrap();
        }
        owners
    }

    /// The masters of the first four slots.
    fn ids(owners: &SlotOwners<Owner>) -> String {
        let id = |slot| owners.owner(slot).map_or("-", |owner| owner.id.as_str());
        (0..4).map(id).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn most_maps_decide_for_each_slot() {
        for (maps, present, decided) in [
            (&["a a b -", "a c b -", "c c b -"][..], "- - - -", "a c b -"),
            // As many for one as for the other.
            (&["a b a b", "b a c c"], "b b c -", "b b c b"),
            // The present master is not among those with the most.
            (&["a a", "b b", "a b"], "b a", "a b - -"),
            (&["a - - -", "- - - -"], "b b - -", "a - - -"),
            (&[], "a a a a", "- - - -"),
        ] {
            let maps: Vec<SlotOwners<Owner>> = maps.iter().map(|ids| map(ids)).collect();
            assert_eq!(ids(&majority(&maps, &map(present))), decided, "{maps:?}");
        }
    }

    #[test]
    fn decision_lists_each_master_once_in_the_order_of_slots() {
        let maps = [map("a b a b"), map("a b a b"), map("c b a d")];
        let decided = majority(&maps, &SlotOwners::nobody());
        assert_eq!(decided.masters(), [owner("a", 1), owner("b", 1)]);
        assert_eq!(decided, majority(&maps[..2], &decided));
    }

    #[test]
    fn master_that_two_servers_see_at_two_addresses_is_one() {
        let mut other = SlotOwners::nobody();
        other.assign(0, SLOTS - 1, Some(owner("a", 2))).unwrap();
        let maps = [map("b b"), other, map("a b")];
        let decided = majority(&maps, &SlotOwners::nobody());
        assert_eq!(decided.owner(0), Some(&owner("a", 2)));
        assert_eq!(decided.owner(1), Some(&owner("b", 1)));
    }

    #[test]
    fn slots_that_do_not_exist_are_refused() {
        let mut owners = SlotOwners::nobody();
        for (first, last) in [(0, SLOTS), (SLOTS, SLOTS), (5, 4)] {
            assert_eq!(owners.assign(first, last, Some("a")), None, "{first} {last}");
        }
        assert_eq!(owners, SlotOwners::nobody());
    }
}
