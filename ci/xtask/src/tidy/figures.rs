//! Rule: each row of the README's numbers is a measurement of `bench/results`, by its name and unit, and has its figures.

use super::{File, Violation};

const README: &str = "README.md";
const SECTION: &str = "## Numbers";
const RESULTS: &str = "bench/results/";

/// Checks the tables of the README's numbers.
pub(super) fn check(files: &[File]) -> Vec<Violation> {
    let Some(readme) = files.iter().find(|file| file.path == README) else { return Vec::new() };
    let measured: Vec<Vec<&str>> = files
        .iter()
        .filter(|file| file.path.starts_with(RESULTS) && file.path.ends_with(".md"))
        .flat_map(|file| file.text.lines().filter_map(cells))
        .collect();
    let lines = readme.text.lines().enumerate().skip_while(|(_, line)| *line != SECTION).skip(1);
    let numbers = lines.take_while(|(_, line)| !line.starts_with("## "));
    let rows = numbers.filter_map(|(index, line)| Some((index + 1, cells(line)?)));
    rows.filter(|(_, row)| !row[0].is_empty() && !row[0].starts_with("---"))
        .filter_map(|(line, row)| Some(Violation::new(README, line, problem(&row, &measured)?)))
        .collect()
}

/// What is wrong with a row, if something is.
fn problem(row: &[&str], measured: &[Vec<&str>]) -> Option<String> {
    let name =
        |measure: &&Vec<&str>| measure.len() > 2 && row[0] == format!("{}, {}", measure[0], measure[1]);
    // Behind a figure stands how far its rounds are apart.
    let figure = |cell: &&'_ str| cell.split_whitespace().next().unwrap_or_default().to_owned();
    let measures = measured.iter().filter(name).map(|measure| measure[2..].iter().map(figure).collect());
    let all: Vec<Vec<String>> = measures.collect();
    if all.is_empty() {
        return Some(format!("no table of {RESULTS} has the measure and unit {:?}", row[0]));
    }
    let is_same = |figures: &Vec<String>| {
        figures.iter().zip(&row[1..]).filter(|(a, b)| a == b).count() + 1 == row.len()
    };
    let told: Vec<String> = all.iter().map(|figures| figures.join(", ")).collect();
    (!all.iter().any(is_same)).then(|| format!("{:?} was measured as {}", row[0], told.join("; or as ")))
}

/// The cells of a row of a table; at least two.
fn cells(line: &str) -> Option<Vec<&str>> {
    let cells: Vec<&str> =
        line.strip_prefix("| ")?.trim_end().strip_suffix('|')?.split('|').map(str::trim).collect();
    (cells.len() > 1).then_some(cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_that_were_not_measured_are_refused() {
        let results = "| a GET | CPU µs | 13.3 (45 %) | 16.0 (32 %) 99 % | 0.83 |\n";
        let readme = "| other | 9 |\n## Numbers\n| | Ringbolt | nginx |\n| --- | --- | --- |\n\
                      | a GET, CPU µs | 13.3 | 16.0 |\n| a GET, CPU µs | 13.2 | 16.0 |\n| a POST, CPU µs | 1 | 2 |\n## More\n| a | 1 |\n";
        let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
        let found = check(&[file(README, readme), file("bench/results/peers.md", results)]);
        let found: Vec<String> = found.into_iter().map(|violation| violation.to_string()).collect();
        let expected = [
            "README.md:6: \"a GET, CPU µs\" was measured as 13.3, 16.0, 0.83",
            "README.md:7: no table of bench/results/ has the measure and unit \"a POST, CPU µs\"",
        ];
        assert_eq!(found, expected);
    }
}
