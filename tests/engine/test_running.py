"""Trainings that learn, resume from what is whole, are alone in their folder, and leave no worker behind."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from exlpose_mm import LearningHook, WorkDirHook
from exlpose_mm.engine.checkpoints import CheckpointError
from exlpose_mm.engine.hooks.running import TrainingError, is_whole, newest_checkpoint

ROOT = Path(__file__).resolve().parents[2]


class Model(BaseModel):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, inputs, mode):
        return dict(loss=(self.weight - 1).square().sum())


def runner(folder, epochs=2, samples=2, hooks=(WorkDirHook, LearningHook), drop_last=False, schedule=None, **kwargs):
    """A run of two iterations an epoch, which writes a checkpoint after each."""
    number = len(list(folder.glob('*'))) if folder.exists() else 0
    return Runner(
        Model(),
        str(folder),
        custom_hooks=[hook() for hook in hooks],
        train_dataloader=DataLoader(
            [dict(inputs=torch.zeros(1))] * samples, batch_size=2 if drop_last else 1, drop_last=drop_last
        ),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=kwargs.pop('optim_wrapper', dict(optimizer=dict(type='SGD', lr=0.1))),
        param_scheduler=schedule,
        experiment_name=f'{folder}{number}{kwargs}',
        **kwargs,
    )


def trained(folder, epochs=2, **kwargs):
    runner(folder, epochs, **kwargs).train()
    return folder


class TestNothingLearned:
    def test_too_few_samples_for_a_batch(self, tmp_path):
        with pytest.raises(TrainingError, match='1 samples make no batch of 2 that is full'):
            runner(tmp_path, samples=1, drop_last=True).train()
        assert not list(tmp_path.glob('*.pth'))

    def test_enough(self, tmp_path):
        done = runner(tmp_path, samples=2, drop_last=True)
        done.train()
        assert done.iter == 2 and done.model.weight.item() > 0

    @pytest.mark.parametrize(
        'schedule, epochs, said',
        [
            (dict(type='CosineAnnealingLR', T_max=9, end=9), 11, True),
            (dict(type='CosineAnnealingLR', T_max=9, end=9), 9, False),
            (dict(type='CosineAnnealingLR', T_max=18, end=18, by_epoch=False), 11, True),
            (dict(type='LinearLR', start_factor=0.01, end=9), 11, False),
            (dict(type='CosineAnnealingLR', T_max=9, end=9, eta_min=0.05), 11, False),
        ],
    )
    def test_a_schedule_that_ends_before_a_resumed_run(self, tmp_path, schedule, epochs, said):
        trained(tmp_path, 8, schedule=schedule)
        longer = dict(schedule, end=epochs)
        if 'T_max' in longer:
            longer['T_max'] = epochs
        runner(tmp_path, epochs, schedule=longer, resume=True).train()
        logs = ''.join(path.read_text(encoding='utf-8') for path in tmp_path.rglob('*.log'))
        assert ('from iteration 19 to 22 next to nothing is learned' in logs) == said
        assert logs.count('next to nothing') == said


class TestWhatAResumedRunTakes:
    """mmengine puts the settings of a checkpoint in the place of the config's."""

    STEPS = dict(type='MultiStepLR', milestones=[4, 6])

    def said(self, folder):
        logs = ''.join(path.read_text(encoding='utf-8') for path in folder.rglob('*.log'))
        return [line for line in logs.splitlines() if 'of its checkpoint, not with what the config says now' in line]

    def test_a_schedule_that_was_longer_or_another(self, tmp_path):
        trained(tmp_path, 2, schedule=dict(self.STEPS))
        done = runner(tmp_path, 8, schedule=dict(self.STEPS, milestones=[5]), resume=True)
        done.train()
        (line,) = self.said(tmp_path)
        assert "MultiStepLR 1's end is 2, not 8" in line and 'Counter({4: 1, 6: 1}), not Counter({5: 1})' in line
        assert done.optim_wrapper.get_lr()['lr'] == [0.1], 'the milestones never came'

    def test_another_rate_and_decay(self, tmp_path):
        trained(tmp_path, 2)
        changed = dict(optimizer=dict(type='SGD', lr=0.1, weight_decay=0.5))
        runner(tmp_path, 3, resume=True, optim_wrapper=changed).train()
        (line,) = self.said(tmp_path)
        assert "optimizer's weight_decay is 0, not 0.5. To train" in line

    @pytest.mark.parametrize('steps', [STEPS, dict(STEPS, convert_to_iter_based=True), None])
    def test_nothing_is_said_of_the_same(self, tmp_path, steps):
        schedule = steps and dict(steps, end=8)
        trained(tmp_path, 2, schedule=schedule)
        done = runner(tmp_path, 8, schedule=schedule, resume=True)
        done.train()
        assert not self.said(tmp_path)
        assert done.optim_wrapper.get_lr()['lr'] == pytest.approx([0.001 if steps else 0.1])


class TestResume:
    @pytest.mark.parametrize(
        'spoil',
        [
            lambda folder: (folder / 'last_checkpoint').unlink(),
            lambda folder: (folder / 'last_checkpoint').write_text('', encoding='utf-8'),
            lambda folder: (folder / 'last_checkpoint').write_text('/gone/epoch_2.pth', encoding='utf-8'),
            lambda folder: (folder / 'last_checkpoint').write_text(str(folder / 'epoch_9.pth'), encoding='utf-8'),
        ],
    )
    def test_from_the_newest_checkpoint_whatever_last_checkpoint_says(self, tmp_path, spoil):
        spoil(trained(tmp_path, 2))
        again = runner(tmp_path, 3, resume=True)
        again.train()
        assert again._load_from == str(tmp_path / 'epoch_2.pth') and again.iter == 6
        assert again.model.weight.item() == pytest.approx(1 - 0.8**6)

    def test_from_the_newest_that_is_whole(self, tmp_path):
        last = trained(tmp_path, 2) / 'epoch_2.pth'
        last.write_bytes(last.read_bytes()[:-200])
        again = runner(tmp_path, 2, resume=True)
        again.train()
        assert again._load_from == str(tmp_path / 'epoch_1.pth')
        assert again.model.weight.item() == pytest.approx(1 - 0.8**4)

    def test_from_the_folder_it_was_moved_to_though_the_old_one_is_there(self, tmp_path):
        old = trained(tmp_path / 'old', 2)
        new = tmp_path / 'new'
        new.mkdir()
        for name in ('last_checkpoint', 'epoch_1.pth'):
            (new / name).write_bytes((old / name).read_bytes())
        assert newest_checkpoint(str(new)) == str(new / 'epoch_1.pth')

    def test_by_number_not_by_letters(self, tmp_path):
        for name in ('epoch_9.pth', 'epoch_10.pth', 'best_LL-A_AP_epoch_11.pth', 'epoch_12.pth.part'):
            torch.save({}, tmp_path / name)
        assert newest_checkpoint(str(tmp_path)) == str(tmp_path / 'epoch_10.pth')

    def test_where_last_checkpoint_names_the_only_one(self, tmp_path):
        torch.save({}, tmp_path / 'epoch_1.pth')
        (tmp_path / 'work').mkdir()
        (tmp_path / 'work' / 'last_checkpoint').write_text(str(tmp_path / 'epoch_1.pth'), encoding='utf-8')
        assert newest_checkpoint(str(tmp_path / 'work')) == str(tmp_path / 'epoch_1.pth')

    def test_of_nothing_begins(self, tmp_path):
        first = runner(tmp_path, 1, resume=True)
        first.train()
        assert first.iter == 2

    @pytest.mark.parametrize('content', [b'', b'PK\x03\x04 half'])
    def test_where_none_is_whole_is_refused_and_overwrites_nothing(self, tmp_path, content):
        (tmp_path / 'epoch_1.pth').write_bytes(content)
        with pytest.raises(CheckpointError, match='no checkpoint to resume from: .*epoch_1.pth cannot be read as a'):
            runner(tmp_path, 2, resume=True).train()
        assert (tmp_path / 'epoch_1.pth').read_bytes() == content

    def test_from_a_given_one_that_is_cut_off(self, tmp_path):
        last = trained(tmp_path, 2) / 'epoch_2.pth'
        last.write_bytes(last.read_bytes()[:-200])
        with pytest.raises(CheckpointError, match='epoch_2.pth is cut off; the newest whole .*epoch_1.pth'):
            runner(tmp_path, 3, resume=True, load_from=str(last)).train()

    def test_an_old_format_is_taken_to_be_whole(self, tmp_path):
        torch.save({}, tmp_path / 'epoch_1.pth', _use_new_zipfile_serialization=False)
        assert is_whole(tmp_path / 'epoch_1.pth')


def start(code, *args):
    return subprocess.Popen(
        [sys.executable, '-c', textwrap.dedent(code), *map(str, args)],
        stdout=subprocess.PIPE,
        encoding='utf-8',
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'},
    )


def said(process):
    """What it prints behind `said: `; packages may print of their own on import."""
    return next(line.removeprefix('said: ').strip() for line in process.stdout if line.startswith('said: '))


class TestOneAtATime:
    def test_a_second_training_is_told(self, tmp_path):
        other = start(
            """
            import sys, time
            from pathlib import Path
            from exlpose_mm.engine.hooks.running import _lock
            _lock(Path(sys.argv[1]))
            print('said: locked', flush=True)
            time.sleep(600)""",
            tmp_path,
        )
        try:
            assert said(other) == 'locked'
            with pytest.raises(TrainingError, match=f'process {other.pid} is training into {tmp_path}'):
                runner(tmp_path).train()
            assert not list(tmp_path.glob('*.pth'))
        finally:
            other.kill()
            other.wait()
        trained(tmp_path)  # what a dead process held is free

    def test_a_test_may_run_beside(self, tmp_path):
        """Its runner has the config of a train loop, but no loop."""
        WorkDirHook().before_run(SimpleNamespace(_train_loop=dict(max_epochs=1), work_dir=str(tmp_path)))
        assert not list(tmp_path.iterdir())

    def test_the_same_process_may_go_on(self, tmp_path):
        with pytest.raises(TrainingError):
            runner(tmp_path, samples=1, drop_last=True).train()
        trained(tmp_path)


@pytest.mark.skipif(sys.platform != 'linux', reason='only Linux can')
@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_that_waits_to_flush_its_queue_dies_with_the_training(number):
    """A worker that is told to end waits for someone to read what it has made, which nobody will."""
    training = start("""
        import os, time
        import torch
        from torch.utils.data import DataLoader, Dataset
        from exlpose_mm import OrphansHook

        class Heavy(Dataset):
            def __len__(self):
                return 8
            def __getitem__(self, index):
                return [os.getpid(), 'x' * 10_000_000]

        OrphansHook().before_run(None)
        loader = iter(DataLoader(Heavy(), batch_size=None, num_workers=1, prefetch_factor=4))
        print('said:', next(loader)[0], flush=True)
        time.sleep(600)""")
    try:
        worker = int(said(training))
        os.kill(training.pid, number)
        training.wait()
    finally:
        training.kill()
    for _ in range(100):
        if not alive(worker):
            return
        time.sleep(0.1)
    os.kill(worker, signal.SIGKILL)
    pytest.fail(f'worker {worker} has outlived the training')


def alive(pid):
    try:
        return Path(f'/proc/{pid}/stat').read_text(encoding='utf-8').rpartition(')')[2].split()[0] != 'Z'
    except FileNotFoundError:
        return False
