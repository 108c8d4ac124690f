"""The page, read by a parser and by a browser."""

import base64
import json
import re
import runpy
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from test_people import write_results

from exlpose_mm.evaluation.people import PersonResults
from exlpose_mm.evaluation.report.brightness import bins_of, measure, rank_correlation
from exlpose_mm.evaluation.report.figures import INK, SERIES, brightness_plot, loss_plot
from exlpose_mm.evaluation.report.frames import Frames, mean_in_box
from exlpose_mm.evaluation.report.page import Options, ReportError, write_report
from exlpose_mm.evaluation.report.training_log import read_losses
from exlpose_mm.evaluation.results import Results

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = '<script>alert("x")<b> & \'$x_$\''
HOSTILE_FILE = HOSTILE + '" onerror=alert(1) .png'
CHROMIUM = shutil.which('chromium') or shutil.which('google-chrome')


class Page(HTMLParser):
    """Tags, tables (by id, as rows of texts) and text of a page."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.tables, self.cell, self.text = [], {}, None, ''
        self.source = Path(path).read_text(encoding='utf-8')
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == 'table':
            self.rows = self.tables.setdefault(dict(attrs).get('id', len(self.tables)), [])
        if tag == 'tr':
            self.rows.append([])
        if tag in ('td', 'th'):
            self.cell = ''

    def handle_endtag(self, tag):
        if tag in ('td', 'th'):
            self.rows[-1].append(self.cell)
            self.cell = None

    def handle_data(self, data):
        self.text += data
        if self.cell is not None:
            self.cell += data

    def named(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def write_log(folder: Path, lines) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    (folder / 'scalars.json').write_text('\n'.join(texts), encoding='utf-8')


@pytest.fixture(scope='module')
def root(write_exlpose, tmp_path_factory):
    return write_exlpose(tmp_path_factory.mktemp('data') / 'ExLPose')


@pytest.fixture(scope='module')
def work_dirs(root, tmp_path_factory):
    """Two tests and trainings on the tiny ExLPose; a hostile loss, and a hostile image name in the first."""
    folder = tmp_path_factory.mktemp('work')
    for seed, name in enumerate(('first', 'second')):
        run = folder / name / '20250101_000000'
        write_results(root, run, seed)
        write_log(run / 'vis_data', [dict(loss=3.0 - step, **{HOSTILE + 'loss': 1.0}, step=step) for step in (1, 2)])
    rename_worst(folder / 'first' / '20250101_000000' / 'table.people.npz', root)
    return folder / 'first', folder / 'second'


def rename_worst(path: Path, root: Path) -> None:
    """Give the image of the person of lowest OKS a name that is HTML."""
    with np.load(path) as arrays:
        content = dict(arrays)
    dark = np.flatnonzero(content['lighting'] == 'low_light')
    worst = dark[content['oks'][dark].argmin()]
    old = content['image'][worst]
    new = f'ExLPose/dark/{HOSTILE_FILE}'
    shutil.copy(root / old, root / new)
    content['image'] = np.where(content['image'] == old, new, content['image'])
    np.savez(path, **content)


@pytest.fixture(scope='module')
def page(work_dirs, tmp_path_factory):
    out = tmp_path_factory.mktemp('page') / 'new' / 'report.html'
    write_report(
        [f'{HOSTILE}={work_dirs[0]}', str(work_dirs[1])],
        str(out),
        Options(title=HOSTILE, baseline='second', resamples=20, failures=3),
    )
    return out


def results_of(folder: Path) -> Results:
    return Results.read(str(folder / '20250101_000000' / 'table.json'))


# --- What the page says ------------------------------------------------------------------


def test_figures_are_those_of_the_table(page, work_dirs):
    tables = Page(page).tables
    first, second = map(results_of, work_dirs)
    assert tables['ap'][0] == ['model', 'LL-N', 'LL-E', 'WL']
    for row, (name, result) in zip(tables['ap'][1:], [(HOSTILE, first), ('second', second)]):
        assert row[0] == name
        for text, split in zip(row[1:], tables['ap'][0][1:]):
            ap, low, high = map(float, re.fullmatch(r'([\d.]+)\[([\d.]+), ([\d.]+)\]', text).groups())
            assert ap == round(100 * result.rows[split]['AP'], 1) and low <= high
    every = [cells for cells in tables.values() if cells[0][:2] == ['split', 'AP']]
    assert every == [first.cells(), second.cells()]
    assert tables['differences'][0][1:] == ['LL-N', 'LL-E', 'WL'] and len(tables['differences']) == 2


def test_joint_errors(page, work_dirs):
    table = next(rows for rows in Page(page).tables.values() if rows[0][0] == 'joint')
    people = results_of(work_dirs[0]).people
    wrist = people.errors[people.split == 'LL-N'][:, list(people.joints).index('left_wrist')]
    row = next(row for row in table if row[0] == 'left wrist')
    assert row[1] == f'{100 * np.nanmedian(wrist):.1f}' != row[-1]
    assert len(table) == 1 + 14 + 1


def test_failures_come_in_order_and_once_an_annotation(page, work_dirs):
    text = Page(page).text
    shown = [float(value) for value in re.findall(r'OKS ([\d.]+) %', text)]
    assert len(shown) == 6
    for folder, found in zip(work_dirs, (shown[:3], shown[3:])):
        people = results_of(folder).people
        dark = people[people.lighting == 'low_light']
        assert found == [round(100 * float(oks), 1) for oks in np.sort(dark.oks)[:3]]


def test_someone_in_several_darknesses_is_shown_in_the_worst(work_dirs, tmp_path):
    results = results_of(work_dirs[1])
    dark = results.people[results.people.split == 'LL-N']
    darker = PersonResults(**{**vars(dark), 'split': np.full(len(dark), 'LL-E'), 'oks': dark.oks / 2})
    results.people = PersonResults.join([dark, darker])
    results.write(str(tmp_path / 'third' / 'table'))
    write_report([str(tmp_path / 'third')], str(tmp_path / 'r.html'), Options(failures=99, resamples=1))
    cards = re.findall(r'OKS [\d.]+ % in (\S+),', Page(tmp_path / 'r.html').text)
    assert cards == ['LL-E'] * len(dark)


def test_pictures_are_of_the_person(work_dirs, root):
    people = results_of(work_dirs[1]).people
    index = int(np.flatnonzero(people.lighting == 'low_light')[0])
    panels = Frames().panels(people, index)
    assert [panel.caption for panel in panels] == ['dark', 'lifted, prediction', 'well lit, labels']
    dark, lifted, light = (
        cv2.imdecode(np.frombuffer(base64.b64decode(panel.source.partition(',')[2]), np.uint8), 1) for panel in panels
    )
    assert dark.shape == lifted.shape == light.shape == (320, 240, 3)
    frame = cv2.imread(str(root / people.image[index]))
    assert mean_in_box(frame, people.box[index]) == pytest.approx(dark[70:250, 70:170].mean(), abs=1)
    assert lifted.mean() > 40 and light.mean() > 40
    well_lit = int(np.flatnonzero(people.lighting == 'well_lit')[0])
    captions = [panel.caption for panel in Frames().panels(people, well_lit)]
    assert captions == ['well lit, prediction', 'well lit, labels']


def test_brightness_is_the_mean_in_the_box(work_dirs, root):
    people = results_of(work_dirs[1]).people
    measured = measure(dict(a=people, b=people), Frames(), 99)
    dark = people.lighting == 'low_light'
    assert measured.read == measured.frames == len({*people.image[dark]}) and not measured.problems
    assert np.isnan(measured.values['a'][~dark]).all()
    np.testing.assert_array_equal(measured.values['a'], measured.values['b'])
    index = np.flatnonzero(dark)[-1]
    x, y, w, h = people.box[index].astype(int)
    frame = cv2.imread(str(root / people.image[index]))
    assert measured.values['a'][index] == pytest.approx(frame[y : y + h, x : x + w].mean())
    fewer = measure(dict(a=people), Frames(), 2)
    assert (fewer.read, fewer.frames) == (2, measured.frames) and np.isfinite(fewer.values['a']).sum() >= 2


def test_bins_and_rank_correlation():
    rng = np.random.default_rng(0)
    brightness = rng.uniform(0, 4, 400)
    oks = np.clip(brightness / 5 + rng.normal(0, 0.02, 400), 0, 1)
    found = bins_of(brightness, oks)
    assert (found.count == 50).all() and (np.diff(found.oks) > 0.05).all()
    assert (found.low < found.oks).all() and (found.oks < found.high).all()
    assert rank_correlation(brightness, oks) > 0.95 and rank_correlation(-brightness, oks) < -0.95
    assert len(bins_of(brightness[:45], oks[:45]).oks) == 2 and bins_of(brightness[:19], oks[:19]) is None
    assert np.isnan(rank_correlation(np.ones(50), oks[:50]))


def test_plots_take_ink_and_colours_of_the_page():
    rng = np.random.default_rng(0)
    bins = {number: bins_of(rng.uniform(0, 2, 100), rng.uniform(0, 1, 100)) for number in (0, 9)}
    for plot in (brightness_plot(bins), loss_plot('$a_b$ <i>', {0: [(1, 2.0)], 9: [(1, 3.0), (2, float('nan'))]})):
        assert all(f'var(--series-{number})' in plot for number in (1, 2))
        assert 'currentColor' in plot and INK not in plot and not any(color in plot for color in SERIES)
        ids = re.findall(r' id="([^"]*)"', plot)
        assert ids and len(set(ids)) == len(ids) and set(re.findall(r'#(\w+)[")]', plot)) <= set(ids)
    assert '$a_b$ &lt;i&gt;' in plot
    shared = set(re.findall(r' id="([^"]*)"', loss_plot('a', {0: [(1, 2.0)]}))) & set(ids)
    assert not shared, 'ids are of one page'


# --- Losses ------------------------------------------------------------------------------


def test_a_resumed_training_replaces_what_it_repeats(tmp_path):
    first = [dict(loss=float(step), step=step) for step in (10, 20, 30)]
    write_log(tmp_path / '20250101_000000' / 'vis_data', [*first, '{"loss'])
    write_log(
        tmp_path / '20250102_000000' / 'vis_data', [dict(loss=7.0, step=20, iter=20), {'LL-A/AP': 0.5, 'step': 1}]
    )
    losses = read_losses(str(tmp_path))
    assert losses.curves == {'loss': [(10, 10.0), (20, 7.0)]} and losses.damaged == 1
    assert read_losses(str(tmp_path / '20250101_000000' / 'table.json')).curves['loss'][-1] == (30, 30.0)
    (tmp_path / 'empty').mkdir()
    assert read_losses(str(tmp_path / 'empty')).curves == {}


# --- Safety ------------------------------------------------------------------------------


def test_everything_shown_is_escaped(page):
    parsed = Page(page)
    assert '<script' not in parsed.source
    assert not parsed.named('script')
    assert not [attrs for _, attrs in parsed.tags if any(name.startswith('on') for name in attrs)]
    assert parsed.text.count(HOSTILE) >= 8, 'title, model, loss and file are shown as they are'
    assert any(HOSTILE_FILE in attrs['alt'] for attrs in parsed.named('img'))


def test_nothing_is_loaded(page):
    parsed = Page(page)
    assert not re.search(r'https?://|//\w+\.', parsed.source)
    assert not [tag for tag, _ in parsed.tags if tag in ('link', 'iframe', 'object', 'embed', 'base', 'video')]
    assert all(attrs['src'].startswith('data:image/jpeg;base64,') for attrs in parsed.named('img'))
    links = [attrs['href'] for _, attrs in parsed.tags if 'href' in attrs]
    assert links and all(link.startswith('#') for link in links)
    assert not re.search(r'@import|url\((?!#)', parsed.source)


# --- What is missing ---------------------------------------------------------------------


def test_results_without_people(work_dirs, tmp_path):
    old = shutil.copytree(work_dirs[0], tmp_path / 'old')
    (old / '20250101_000000' / 'table.people.npz').unlink()
    shutil.rmtree(old / '20250101_000000' / 'vis_data')
    write_report([str(old), f'new={work_dirs[1]}'], str(tmp_path / 'r.html'), Options(resamples=2, failures=1))
    text = ' '.join(Page(tmp_path / 'r.html').text.split())
    assert 'not shown for old: the results hold no single people' in text and 'mim test exlpose_mm CONFIG' in text
    assert 'No training log (vis_data/scalars.json) of old' in text
    assert text.count('OKS') > 2 and 'new, % of the person' in text


def test_missing_data_root(exlpose_root, tmp_path):
    write_results(exlpose_root, tmp_path / 'work')
    moved, out = tmp_path / 'moved', tmp_path / 'r.html'
    shutil.move(exlpose_root, moved)
    write_report([str(tmp_path / 'work')], str(out), Options(resamples=1))
    gone = Page(out)
    assert not gone.named('img')
    assert '4 of 4 dark frames could not be read' in gone.text and '--data-root' in gone.text
    assert 'No picture: cannot read image' in gone.text
    write_report([str(tmp_path / 'work')], str(out), Options(resamples=1, data_root=str(moved)))
    assert len(Page(out).named('img')) == 3 * len(re.findall('OKS [0-9.]+ %', Page(out).text)) > 0


def test_predictions_that_are_not_numbers_come_first(work_dirs, tmp_path):
    results = results_of(work_dirs[1])
    worst = int(np.flatnonzero(results.people.lighting == 'low_light')[-1])
    results.people.keypoints[worst] = results.people.oks[worst] = np.nan
    results.write(str(tmp_path / 'diverged' / 'table'))
    write_report([str(tmp_path / 'diverged')], str(tmp_path / 'r.html'), Options(failures=1, resamples=1))
    text = Page(tmp_path / 'r.html').text
    assert 'OKS – %' in text and f'annotation {results.people.annotation_id[worst]}' in text and 'off by inf' in text


def test_sentences_are_apart(work_dirs, tmp_path, monkeypatch):
    monkeypatch.setattr('exlpose_mm.evaluation.report.brightness.PEOPLE_A_BIN', 1)
    for frames, said in (
        (100, 'It was measured in all 4 dark frames. Each point'),
        (2, 'It was measured in 2 of 4 dark frames, spread evenly over the test. Each point'),
    ):
        write_report([str(work_dirs[0])], str(tmp_path / 'r.html'), Options(frames=frames, resamples=1))
        assert said in ' '.join(Page(tmp_path / 'r.html').text.split())


def test_command_line(work_dirs, tmp_path, capsys):
    main = runpy.run_path(str(ROOT / 'tools' / 'report.py'))['main']
    main([f'ours={work_dirs[1]}', '--out', str(tmp_path / 'r.html'), '--failures', '1', '--resamples', '2'])
    assert capsys.readouterr().out.endswith(f'{tmp_path}/r.html\n')
    assert Page(tmp_path / 'r.html').text.count('OKS') > 2
    for bad, message in (
        ([str(tmp_path)], 'no table.json'),
        ([str(work_dirs[1]), '--baseline', 'x'], "named 'x'"),
        ([str(work_dirs[1]), '--failures', '-1'], 'failures is -1'),
    ):
        with pytest.raises(SystemExit) as stop:
            main(bad)
        assert stop.value.code == 2 and message in capsys.readouterr().err
    with pytest.raises(SystemExit, match='report: .*Is a directory'):
        main([str(work_dirs[1]), '--out', str(tmp_path), '--resamples', '1'])


def test_bad_options():
    with pytest.raises(ReportError, match='failures is -1'):
        Options(failures=-1)


# --- In a browser ------------------------------------------------------------------------


def chromium(folder: Path, url: str, *options: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [
            CHROMIUM,
            '--headless',
            '--no-sandbox',
            '--disable-gpu',
            '--no-first-run',
            '--disable-background-networking',
            '--disable-component-update',
            '--disable-sync',
            f'--user-data-dir={folder / "profile"}',
            '--enable-logging=stderr',
            *options,
            '--dump-dom',
            url,
        ],
        capture_output=True,
        encoding='utf-8',
        timeout=120,
    )


@pytest.mark.skipif(not CHROMIUM, reason='no chromium on this machine')
def test_in_a_browser(page, tmp_path):
    """The page as it is, and in a frame as wide as a phone whose parent measures it."""
    parent = tmp_path / 'phone.html'
    parent.write_text(
        f'''<iframe src="{page.as_uri()}" style="width: 390px; height: 800px"></iframe><script>
        onload = () => {{
            const page = document.querySelector('iframe').contentDocument, root = page.documentElement;
            const boxes = [...page.querySelectorAll('svg')].map(svg => svg.getBoundingClientRect());
            document.documentElement.dataset.found = JSON.stringify({{
                width: root.clientWidth, scroll: root.scrollWidth, tables: page.querySelectorAll('table').length,
                images: page.images.length, plots: boxes.filter(box => box.width > 200 && box.height > 100).length}});
        }};</script>''',
        encoding='utf-8',
    )
    done = chromium(tmp_path, parent.as_uri(), '--allow-file-access-from-files')
    assert done.returncode == 0, done.stderr[-2000:]
    assert 'CONSOLE' not in done.stderr, done.stderr
    found = json.loads(re.search(r'data-found="([^"]*)"', done.stdout)[1].replace('&quot;', '"'))
    parsed = Page(page)
    assert found['width'] == found['scroll'] <= 390, 'only tables scroll sideways'
    assert found['tables'] == len(parsed.named('table')) > 5
    assert found['images'] == len(parsed.named('img')) == 18
    assert found['plots'] == 3, 'AP and two losses; nobody would see a trend in six people'
