// SPDX-License-Identifier: GPL-2.0
//! Lines over a number.

use super::axis::Axis;
use super::svg::{colour, tick, Place, Svg};

pub struct Lines {
    pub title: String,
    pub x: String,
    pub y: String,
    pub lines: Vec<Line>,
}

pub struct Line {
    pub name: String,
    /// Its colour and shape: those of another line of the same name, in another plot.
    pub index: usize,
    /// Sorted by x.
    pub points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 460.0;
const LEFT: f64 = 104.0;
const RIGHT: f64 = 200.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = 60.0;
/// Spans from which an axis is logarithmic.
const X_SPAN: f64 = 50.0;
const Y_SPAN: f64 = 20.0;

impl Lines {
    pub fn svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let x = Axis::fit(points().map(|point| point.0), X_SPAN, LEFT, WIDTH - RIGHT);
        // Less than nothing is a rounding of nothing, and no reason to give up decades.
        let heights = points().map(|point| point.1).filter(|y| *y > 0.0);
        let y = Axis::fit(heights, Y_SPAN, HEIGHT - BOTTOM, TOP);
        let mut svg = Svg::new(WIDTH, HEIGHT, &self.title);
        self.axes(&mut svg, &x, &y);
        for (row, line) in self.lines.iter().enumerate() {
            line.draw(&mut svg, row, &x, &y);
        }
        svg.finish()
    }

    fn axes(&self, svg: &mut Svg, x: &Axis, y: &Axis) {
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        let places = |axis: &Axis| axis.ticks().iter().map(|(_, at)| *at).collect::<Vec<_>>();
        for (class, xs, ys) in [
            ("minor", x.minors(), y.minors()),
            ("grid", places(x), places(y)),
        ] {
            for at in xs {
                svg.segment(class, (at, TOP), (at, bottom));
            }
            for at in ys {
                svg.segment(class, (LEFT, at), (right, at));
            }
        }
        svg.segment("axis", (LEFT, bottom), (right, bottom));
        svg.segment("axis", (LEFT, TOP), (LEFT, bottom));
        for (value, at) in x.ticks() {
            svg.text((at, bottom + 20.0), "middle", "", &tick(value));
        }
        for (value, at) in y.ticks() {
            svg.text((LEFT - 8.0, at + 4.0), "end", "", &tick(value));
        }
        let (middle, centre) = ((LEFT + right) / 2.0, (TOP + bottom) / 2.0);
        svg.text((LEFT, 28.0), "start", "title", &self.title);
        svg.text((middle, HEIGHT - 16.0), "middle", "", &scaled(&self.x, x));
        svg.upright((20.0, centre), &scaled(&self.y, y));
    }
}

fn scaled(label: &str, axis: &Axis) -> String {
    match axis.is_log() {
        true => format!("{label} (log scale)"),
        false => label.to_owned(),
    }
}

impl Line {
    /// The line, its points and its entry in the legend.
    fn draw(&self, svg: &mut Svg, row: usize, x: &Axis, y: &Axis) {
        let colour = colour(self.index);
        let place =
            |(at, value): &(f64, f64)| -> Option<Place> { Some((x.place(*at)?, y.place(*value)?)) };
        let path: Vec<Place> = self.points.iter().filter_map(place).collect();
        svg.path(&path, colour);
        for point in &self.points {
            if let Some(at) = place(point) {
                let tip = format!("{}, {}: {:.1}", self.name, tick(point.0), point.1);
                svg.mark(at, self.index, colour, &tip);
            }
        }
        let (left, height) = (WIDTH - RIGHT + 20.0, TOP + 12.0 + 24.0 * row as f64);
        svg.path(&[(left, height), (left + 26.0, height)], colour);
        svg.mark((left + 13.0, height), self.index, colour, &self.name);
        let gap = if path.is_empty() { " (no figures)" } else { "" };
        let name = format!("{}{gap}", self.name);
        svg.text((left + 34.0, height + 4.0), "start", "", &name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_in_the_legend_and_nothing_is_out_of_place() {
        let line = |name: &str, index, points: &[(f64, f64)]| Line {
            name: name.into(),
            index,
            points: points.to_vec(),
        };
        let plot = Lines {
            title: "a < b".into(),
            x: "pipes".into(),
            y: "instructions".into(),
            lines: vec![
                line("evpoll", 0, &[(10.0, 30.0), (1000.0, 31.0)]),
                line("poll", 4, &[(10.0, 900.0), (1000.0, -1.0)]),
                line("absent", 5, &[]),
            ],
        };
        let svg = plot.svg();
        assert!(svg.contains("a &lt; b") && !svg.contains("NaN") && !svg.contains("inf"));
        assert!(svg.contains(">evpoll</text>") && svg.contains(">absent (no figures)</text>"));
        // Three points and three entries of the legend.
        assert_eq!(svg.matches("stroke-width=\".8\"").count(), 6);
        assert!(svg.contains(">pipes (log scale)</text>"));
        assert!(svg.contains(">instructions (log scale)</text>"));
    }
}
