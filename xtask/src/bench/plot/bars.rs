// SPDX-License-Identifier: GPL-2.0
//! Bars over words: a row for each, with a bar for each interface.

use super::axis::Axis;
use super::svg::{colour, tick, Svg};

pub struct Bars {
    pub title: String,
    /// What the figures are.
    pub x: String,
    pub rows: Vec<(String, Vec<Bar>)>,
}

pub struct Bar {
    pub name: String,
    /// Its colour.
    pub index: usize,
    pub value: f64,
    /// The least and the most.
    pub range: Option<(f64, f64)>,
}

const WIDTH: f64 = 800.0;
const RIGHT: f64 = 90.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 56.0;
const BAR: f64 = 18.0;
const GAP: f64 = 14.0;
/// Of a letter, roughly.
const LETTER: f64 = 7.2;
const SPAN: f64 = 100.0;
/// What bars with a range are.
const WHISKERS: &str = ": the median; the whiskers are the least and the most of the runs";

impl Bars {
    pub fn svg(&self) -> String {
        let bars = || self.rows.iter().flat_map(|(_, bars)| bars);
        // The row's name stands above its bars, the interface's at the left of each.
        let longest = bars()
            .map(|bar| bar.name.chars().count())
            .max()
            .unwrap_or(0);
        let left = 28.0 + LETTER * longest as f64;
        let named = self.rows.iter().any(|(name, _)| !name.is_empty());
        let heading = if named { 20.0 } else { 0.0 };
        let height_of = |bars: &Vec<Bar>| heading + BAR * bars.len() as f64 + GAP;
        let bottom = TOP
            + self
                .rows
                .iter()
                .map(|(_, bars)| height_of(bars))
                .sum::<f64>();
        let ends = bars().flat_map(|bar| [bar.value, bar.range.map_or(bar.value, |range| range.1)]);
        let axis = Axis::fit(ends, SPAN, left, WIDTH - RIGHT);

        let mut svg = Svg::new(WIDTH, bottom + BOTTOM, &self.title);
        svg.text((left, 26.0), "start", "title", &self.title);
        for at in axis.minors() {
            svg.segment("minor", (at, TOP), (at, bottom));
        }
        for (value, at) in axis.ticks() {
            svg.segment("grid", (at, TOP), (at, bottom));
            svg.text((at, bottom + 18.0), "middle", "", &tick(value));
        }
        let mut y = TOP;
        for (name, bars) in &self.rows {
            if named {
                svg.text((left + 2.0, y + 16.0), "start", "bold", name);
            }
            for (index, bar) in bars.iter().enumerate() {
                bar.draw(&mut svg, &axis, left, y + heading + BAR * index as f64);
            }
            y += height_of(bars);
        }
        svg.segment("axis", (axis.base(), TOP), (axis.base(), bottom));
        let middle = (left + WIDTH - RIGHT) / 2.0;
        let mut label = self.x.clone();
        if axis.is_log() {
            label += " (log scale)";
        }
        if bars().any(|bar| bar.range.is_some()) {
            label += WHISKERS;
        }
        svg.text((middle, bottom + 42.0), "middle", "", &label);
        svg.finish()
    }
}

impl Bar {
    fn draw(&self, svg: &mut Svg, axis: &Axis, left: f64, y: f64) {
        let base = axis.base();
        let end = axis.place(self.value).unwrap_or(base);
        let middle = y + BAR / 2.0;
        let tip = format!("{}: {:.1}", self.name, self.value);
        let from = base.min(end);
        svg.rect(
            (from, y + 2.0),
            (base.max(end) - from, BAR - 4.0),
            colour(self.index),
            &tip,
        );
        let mut right = base.max(end);
        if let Some((least, most)) = self.range {
            let place = |value| axis.place(value).unwrap_or(base);
            svg.segment("whisker", (place(least), middle), (place(most), middle));
            for at in [place(least), place(most)] {
                svg.segment("whisker", (at, middle - 4.0), (at, middle + 4.0));
            }
            right = right.max(place(most));
        }
        svg.text((left - 8.0, middle + 4.0), "end", "", &self.name);
        svg.text(
            (right + 6.0, middle + 4.0),
            "start",
            "small",
            &tick(self.value),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bar_has_its_name_and_figure() {
        let bar = |name: &str, value, range| Bar {
            name: name.into(),
            index: 0,
            value,
            range,
        };
        let plot = Bars {
            title: "producers".into(),
            x: "events/s".into(),
            rows: vec![
                (
                    "1 thread".into(),
                    vec![bar("evpoll", 1200.0, Some((1000.0, 1300.0)))],
                ),
                (
                    "2 threads".into(),
                    vec![bar("evpoll", 0.0, None), bar("epoll-edge", 900.0, None)],
                ),
            ],
        };
        let svg = plot.svg();
        assert!(svg.contains(">1 thread</text>") && svg.contains(">epoll-edge</text>"));
        assert!(svg.contains(">1\u{202f}200</text>") && svg.contains(">events/s: the median; the"));
        assert_eq!(svg.matches("class=\"whisker\"").count(), 3);
        assert!(!svg.contains("NaN") && !svg.contains("width=\"-"));
    }
}
