//! A table whose places are used again, but never within one turn of the loop: an event that was
//! fetched for a closed connection must not reach a new one in its place.

#[derive(Debug)]
pub(crate) struct Slots<T> {
    items: Vec<Option<T>>,
    free: Vec<u32>,
    freed: Vec<u32>,
}

impl<T> Slots<T> {
    pub(crate) const fn new() -> Self {
        Self { items: Vec::new(), free: Vec::new(), freed: Vec::new() }
    }

    /// The place the next [`Slots::insert`] takes.
    pub(crate) fn next(&self) -> u32 {
        self.free.last().copied().unwrap_or_else(|| self.end())
    }

    /// Behind the last place.
    pub(crate) fn end(&self) -> u32 {
        u32::try_from(self.items.len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn insert(&mut self, item: T) -> u32 {
        let index = self.next();
        if self.free.pop().is_some() {
            self.items[index as usize] = Some(item);
        } else {
            self.items.push(Some(item));
        }
        index
    }

    pub(crate) fn get(&mut self, index: u32) -> Option<&mut T> {
        self.items.get_mut(index as usize)?.as_mut()
    }

    pub(crate) fn remove(&mut self, index: u32) -> Option<T> {
        let item = self.items.get_mut(index as usize)?.take()?;
        self.freed.push(index);
        Some(item)
    }

    /// The turn is over: places that became free in it may be taken.
    pub(crate) fn end_turn(&mut self) {
        self.free.append(&mut self.freed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_used_again_in_the_next_turn_only() {
        let mut slots = Slots::new();
        let (a, b) = (slots.insert('a'), slots.insert('b'));
        assert_eq!(slots.remove(a), Some('a'));
        assert_eq!(slots.remove(a), None);
        assert_ne!(slots.insert('c'), a);
        slots.end_turn();
        assert_eq!(slots.next(), a);
        assert_eq!(slots.insert('d'), a);
        assert_eq!(slots.get(b), Some(&mut 'b'));
        assert_eq!(slots.get(99), None);
    }
}
