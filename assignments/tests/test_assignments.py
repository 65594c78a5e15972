"""Every homework: its checks accept its references and right solutions, and reject every known wrong one."""

import ast
import re
from pathlib import Path

import pytest

from grader.course import Course
from grader.examine.examiner import checks_of
from grader.notebooks.source import is_given, strip_solutions, validate
from grader.notebooks.wrong import wrong_solutions

COURSE = Course.load(Path(__file__).parents[1])
HOMEWORKS = [
    homework
    for homework in COURSE.assignments.values()
    if homework.parts and homework.source == COURSE.root / "source" / homework.name
]
PARTS = [part for homework in HOMEWORKS for part in homework.parts.values()]
WRONG = [(homework, wrong) for homework in HOMEWORKS for wrong in wrong_solutions(homework.source / "wrong")]
RIGHT = [
    (homework, path) for homework in HOMEWORKS for path in sorted((homework.source / "right").glob("*.py"))
]


def timed_checks(homework):
    """Return the names of functions that compare times, themselves or by a function that they call.

    A test beside them would share the two processors that they need.
    """
    functions = [
        (node.name, ast.unparse(node))
        for path in (homework.source / "checks").glob("*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef)
    ]
    found, called = set(), {"sub.compare", "sub.compare_servers"}
    while called:
        call = re.compile(rf"\b(?:{'|'.join(map(re.escape, called))})\(")
        called = {name for name, text in functions if name not in found and call.search(text)}
        found |= called
    return found


TIMED = {homework.name: timed_checks(homework) for homework in HOMEWORKS}
TIMED_FILES = {
    homework.name: {
        wrong.file for owner, wrong in WRONG if owner == homework and wrong.caught_by in TIMED[owner.name]
    }
    for homework in HOMEWORKS
}


def part_of(homework, file):
    """Return the part that asks for this file."""
    (part,) = (part for part in homework.parts.values() if file in part.files)
    return part


def one(name, *values, timed=False):
    """Return parameters of a test under the id `name`, marked where it compares times."""
    return pytest.param(*values, id=name, marks=[pytest.mark.alone] if timed else [])


def short(homework):
    """Return the first word of a homework's name: hw1."""
    return getattr(homework, "name", homework).partition("_")[0]


def named(part, *words):
    """Return the id of a test of this part."""
    return "-".join([short(part.assignment), f"part{part.number}", *words])


def is_timed(part):
    """Return whether one of the part's checks compares times; each has a wrong solution that trips it."""
    return bool(TIMED_FILES[part.assignment].intersection(part.files))


EVERY_PART = [one(named(part), part) for part in PARTS]
EVERY_HOMEWORK = [one(short(homework), homework) for homework in HOMEWORKS]


def header(path):
    """Return what the first lines of a right solution declare."""
    return dict(re.findall(r"^# ([a-z ]+): (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE))


def failures(report):
    return {check.name: f"{check.verdict}: {check.why}" for check in report.checks if check.verdict != "pass"}


def lacks(examiner, needs):
    """Return whether this machine lacks what the `needs` of a wrong solution begins with."""
    there = {"namespaces": examiner.place.isolated, "control groups": examiner.place.cgroups is not None}
    (needed,) = (name for name in there if needs.startswith(name))
    return not there[needed]


@pytest.mark.parametrize("homework", EVERY_HOMEWORK)
def test_statements_points_and_stubs_agree_with_the_course(homework):
    assert validate(homework) == []


@pytest.mark.parametrize("homework", EVERY_HOMEWORK)
def test_printed_commands_need_no_activated_environment(homework):
    texts = [*homework.source.glob("*.md"), *homework.source.glob("*.py")]
    commands = {
        path.name: re.findall(
            r"\S*(?:torchrun|grader) (?:--nproc|check|pack)", path.read_text(encoding="utf-8")
        )
        for path in texts
    }
    assert any(commands.values())
    for name, found in commands.items():
        bare = [command for command in found if not command.lstrip("`").startswith(".venv/bin/")]
        assert bare == [], name


def test_weights_of_the_assignments_add_up():
    assert sum(assignment.weight for assignment in COURSE.assignments.values()) == pytest.approx(1)


# Checks that compare times run alone, the others beside other tests.
@pytest.mark.parametrize(
    ("part", "timed"),
    [one(named(part), part, False) for part in PARTS]
    + [one(named(part, "timed"), part, True, timed=True) for part in PARTS if is_timed(part)],
)
def test_reference_gets_full_points(examiner, submission, part, timed):
    names = [check.name for check in checks_of(part) if (check.name in TIMED[part.assignment]) == timed]
    report = examiner.examine(part, submission(part), names=names)
    assert [check.name for check in report.checks] == names
    assert failures(report) == {}
    assert report.total == sum(check.points for check in checks_of(part) if check.name in names)
    # Where suites are graded by mutants: one that our own suite does not kill could be no mistake at all.
    measured = [each for check in report.checks for each in check.measured]
    assert {each["value"] for each in measured if each["name"] == "survivors"} <= {"none"}


@pytest.mark.parametrize("part", EVERY_PART)
def test_untouched_stubs_get_nothing_and_say_what_is_missing(examiner, submission, part):
    stubs = [(name, strip_solutions((part.source / name).read_text(encoding="utf-8"))) for name in part.files]
    report = examiner.examine(part, submission(part, stubs))
    assert report.total == 0
    assert {check.verdict for check in report.checks} == {"fail"}
    # What is handed out with bugs in it runs, and is wrong.
    given = {name for name in part.files if is_given((part.source / name).read_text(encoding="utf-8"))}
    holes = [check for check in report.checks if part.modules[check.item] not in given]
    assert [check.name for check in holes if "not implemented yet" not in check.why] == []


@pytest.mark.drawn(3)
@pytest.mark.parametrize("part", [one(named(part), part, timed=is_timed(part)) for part in PARTS])
def test_a_missing_file_fails_its_own_checks_only(examiner, submission, part):
    gone = min(part.items, key=part.items.get)
    left = [item for item in part.items if part.modules[item] != part.modules[gone]]
    kept = min(left, key=part.items.get, default=None)  # a part of one file has nothing else
    folder = submission(part)
    (folder / part.modules[gone]).unlink()
    report = examiner.examine(part, folder, items=[item for item in (gone, kept) if item])
    assert {check.item for check in report.checks if check.verdict != "pass"} == {gone}
    assert report.points(gone) == 0
    if kept:
        assert report.points(kept) == part.items[kept]


@pytest.mark.drawn(8)
@pytest.mark.parametrize(
    ("homework", "wrong"),
    [
        one(
            f"{short(homework)}-{wrong.name}",
            homework,
            wrong,
            timed=wrong.caught_by in TIMED[homework.name],
        )
        for homework, wrong in WRONG
    ],
)
def test_wrong_solution_is_caught(examiner, submission, homework, wrong, unsettled):
    if wrong.needs and lacks(examiner, wrong.needs):
        pytest.skip(wrong.needs)
    part = part_of(homework, wrong.file)
    with unsettled(part, [wrong.caught_by], wrong.text) as to_examine:
        if to_examine:
            folder = submission(part, [(wrong.file, wrong.text)])
            # The one check that must catch it: the others would take minutes and prove nothing.
            (result,) = examiner.examine(part, folder, names=[wrong.caught_by]).checks
            assert result.verdict == "fail", result
            assert "damaged" not in result.why, result


ONE_CHECK = {
    "hw1_distributed": [
        "ring_sums",
        "ring_drops_the_remainder",
        "ring_exchanges_whole_tensors",
        "syncbn_averages_means",
        "syncbn_biased_running_variance",
        "syncbn_saves_in_the_class",
        "syncbn_updates_in_evaluation",
        "metrics_counts_padded_rows",
        "accumulation_averages_twice",
        "adam_averages_twice",
        "counting_overwrites",
        "pairs_in_one_direction",
        "glove_loses_repeated_ids",
        "pipeline_does_not_scale",
        "print_separator_at_the_end",
    ],
    "hw2_pipelines": [
        "scaler_counts_on_after_overflow",
        "scaler_forgets_its_count",
        "scaler_looks_for_inf_only",
        "scaler_looks_when_it_steps",
        "scaler_multiplies_the_gradients",
        "scaler_needs_every_gradient",
        "scaler_takes_the_step_back",
        "scaler_unscales_twice",
        "training_clips_scaled_gradients",
        "training_scales_the_gradients",
        "padding_truncates",
        "padding_with_zeros",
        "sampler_adds_one_length",
        "sampler_fills_up_with_copies",
        "sampler_forgets_the_epoch",
        "sampler_pads_the_ranks",
        "packing_goes_on_counting",
        "packing_into_the_last_row",
        "packing_leaks",
        "profiler_backward_lasts_to_the_end",
        "profiler_counts_from_one",
        "profiler_leaves_its_hooks",
        "profiler_milliseconds",
        "profiler_repeats_without_waiting",
        "profiler_takes_from_all_above",
        "fast_drops_the_last_batch",
        "fast_loses_repeated_words",
        "fast_mean_over_padding",
        "fast_tables_for_training_only",
    ],
    "hw3_deployment": [
        "batcher_asks_for_the_cancelled",
        "batcher_closes_without_end",
        "batcher_counts_the_batch",
        "batcher_fails_one",
        "batcher_is_due_at_once",
        "batcher_waits_once_more",
        "batcher_without_bound",
        "fair_counts_clients",
        "fair_in_bursts",
        "fair_saves_up",
        "fair_without_weights",
        "grpc_turns_the_image",
        "service_answers_a_list",
        "service_closes_every_time",
        "service_converts_pixels",
        "service_counts_batches",
        "service_counts_what_it_is_asked",
        "service_is_ready_at_once",
        "service_lets_the_model_look",
        "service_raises_the_signal_again",
        "service_says_422_to_no_json",
        "service_with_settings_of_its_own",
        "blocks_copy_in_the_other_direction",
        "blocks_keep_what_was_freed",
        "blocks_refuse_halfway",
        "blocks_share_by_content",
        "cache_select_keeps_the_padding",
        "metrics_mean_over_tokens",
        "sampling_top_p_first",
        "int8_divides_by_128",
        "int8_needs_contiguous_inputs",
        "int8_one_scale_for_all",
        "int8_one_scale_for_the_batch",
        "int8_rounds_halves_up",
        "int8_weights_only",
        "gptq_always_four_bits",
        "gptq_leaves_the_range",
        "gptq_one_code_more",
        "gptq_without_damping",
        "rotation_divides_by_n",
        "rotation_forgets_the_bias",
        "rotation_other_order",
        "rotation_signs_at_the_end",
        "macs_forget_the_stride",
        "macs_padding_on_one_side",
        "mask_by_a_threshold",
        "mask_of_what_goes",
        "prune_changes_what_it_is_given",
        "prune_forgets_least",
        "prune_takes_the_first_inputs",
        "loss_mean_over_words",
        "loss_teaches_padding",
        "loss_teaches_the_teacher",
        "loss_without_t_squared",
        "kernel_adds_in_float32",
        "kernel_beyond_the_matrix",
        "kernel_reads_the_next_row",
        "kernel_rows_of_m",
        "kernel_swaps_programs",
        "kernel_swaps_scales",
        "kernel_without_scales",
    ],
    "hw4_monitoring_testing": [
        "collate_learns_from_padding",
        "split_leaks",
        "forward_sees_one_ahead",
        "rate_rises_again",
        "clip_each",
        "gradients_mean_of_means",
        "train_begins_the_epoch_again",
        "evaluate_mean_of_means",
        "config_merges_one_level",
        "config_keeps_the_quotes",
        "config_plus_needs_its_parents",
        "config_interpolates_relative",
        "config_reference_key_error",
        "config_eats_the_defaults",
        "fingerprint_sorts_the_top",
        "sweep_loses_flags",
        "rerun_new_parameters_are_known",
        "rerun_missing_file_is_a_hash",
        "rerun_decides_at_once",
        "stages_read_what_they_write",
        "stages_depend_on_the_parameter_file",
        "monitor_metrics_by_feature",
        "monitor_metrics_raw_labels",
        "monitor_forgets_the_sums",
        "monitor_skips_empty_rows",
    ],
}
"""Mistakes of those that a check of something else once charged a second time, or easily would."""


def known(assignment, name):
    """Return the homework and its wrong solution of this name."""
    (found,) = (pair for pair in WRONG if (pair[0].name, pair[1].name) == (assignment, name))
    return found


@pytest.mark.drawn(8)
@pytest.mark.parametrize(
    ("assignment", "name"),
    [
        one(f"{short(assignment)}-{name}", assignment, name)
        for assignment, names in ONE_CHECK.items()
        for name in names
    ],
)
def test_one_mistake_costs_one_check(examiner, submission, assignment, name, unsettled):
    homework, wrong = known(assignment, name)
    part = part_of(homework, wrong.file)
    if wrong.needs and lacks(examiner, wrong.needs):
        pytest.skip(wrong.needs)
    (item,) = {check.item for check in checks_of(part) if check.name == wrong.caught_by}
    # Without comparisons of times, which would have to run alone.
    names = [
        check.name for check in checks_of(part) if check.item == item and check.name not in TIMED[assignment]
    ]
    with unsettled(part, names, wrong.text) as to_examine:
        if to_examine:
            folder = submission(part, [(wrong.file, wrong.text)])
            assert set(failures(examiner.examine(part, folder, names=names))) == {wrong.caught_by}


SAID = [
    (
        "hw1_distributed",
        "accumulation_keeps_the_last_micro_batch",
        "accumulation_communicates_once",
        "ranks 0 and 1 have different weights after the step",
        "the last one too",
    ),
    (
        "hw1_distributed",
        "syncbn_updates_in_evaluation",
        "syncbn_keeps_running_statistics",
        "evaluation, outputs is off by",
        "In evaluation mode",
    ),
    (
        "hw2_pipelines",
        "scaler_looks_for_inf_only",
        "an_overflow_skips_the_step",
        "a step with nan in the gradient of parameter ",
        "for NaN too",
    ),
    (
        "hw2_pipelines",
        "packing_masks_padding",
        "packed_sequences_do_not_see_each_other",
        "the mask has a query without any key",
        "Padding attends to itself",
    ),
    (
        "hw3_deployment",
        "service_says_422_to_no_json",
        "bad_requests_are_refused",
        "JSON that breaks off: the status is 422, not 400",
        "400: nobody can read it",
    ),
    (
        "hw3_deployment",
        "service_raises_the_signal_again",
        "accepted_requests_are_answered",
        "the service ended by SIGTERM (143 in a shell), not with 0",
        "raised a second time: uvicorn does so",
    ),
    (
        "hw3_deployment",
        "schedule_static_shrinks",
        "static_batches_end_together",
        "static, cost (",
        "keeps its place, and its cost",
    ),
    (
        "hw3_deployment",
        "int8_sums_in_float32",
        "sums_are_exact",
        "sums of 6",
        "float32 every integer up to 2^24",
    ),
    (
        "hw3_deployment",
        "gptq_leaves_the_range",
        "codes_lie_on_the_grid",
        "4 bits, groups of 32: largest magnitude of a code",
        "grow beyond the range",
    ),
    (
        "hw3_deployment",
        "loss_mean_over_words",
        "the_loss_is_right",
        "loss at T = 1, alpha = 1 is off by",
        "KL(teacher || student)",
    ),
    (
        "hw3_deployment",
        "prune_takes_the_first_inputs",
        "channels_go_whole",
        "outputs is off by",
        "what reads it in the next layer",
    ),
    (
        "hw3_deployment",
        "kernel_adds_in_int16",
        "tiles_are_products",
        "out for 64 and 64 rows of 128",
        "multiples of 65,536: int16 wraps around",
    ),
    (
        "hw3_deployment",
        "kernel_adds_in_float32",
        "sums_are_exact_on_the_way",
        "out for 32 and 32 rows of 8192",
        "nearly right: something has rounded them",
    ),
    (
        "hw3_deployment",
        "kernel_scales_of_the_first_tile",
        "tiles_are_products",
        "out for 64 and 64 rows of 128",
        "The sums are right, the scales are not",
    ),
    (
        "hw3_deployment",
        "kernel_stores_integers",
        "tiles_are_products",
        "out for 64 and 64 rows of 128",
        "cut to integers",
    ),
    (
        "hw3_deployment",
        "kernel_dots_in_float16",
        "tiles_are_products",
        "out for 64 and 64 rows of 128",
        "inf has become an integer",
    ),
    (
        "hw3_deployment",
        "kernel_stays_at_the_first_block",
        "tiles_are_products",
        "out for 64 and 64 rows of 128",
        "first BLOCK_K products again in every turn",
    ),
    (
        "hw4_monitoring_testing",
        "rerun_missing_file_is_a_hash",
        "impossible_pipelines_are_refused",
        "a file that does not exist: no PipelineError",
        "say its name",
    ),
    (
        "hw4_monitoring_testing",
        "monitor_metrics_by_feature",
        "metrics_say_what_happened",
        "a line of drift_alarms_total does not stand behind the TYPE line",
        "the lines of a family stand together",
    ),
]


@pytest.mark.parametrize(
    ("assignment", "name", "check", "why", "hint"), [one(f"{short(row[0])}-{row[1]}", *row) for row in SAID]
)
def test_what_is_said_of_a_mistake_names_its_cause(examiner, submission, assignment, name, check, why, hint):
    homework, wrong = known(assignment, name)
    part = part_of(homework, wrong.file)
    folder = submission(part, [(wrong.file, wrong.text)])
    (result,) = examiner.examine(part, folder, names=[check]).checks
    assert result.why.startswith(why)
    assert hint in result.hint


@pytest.mark.parametrize("part", EVERY_PART)
def test_every_check_is_tripped_by_a_wrong_solution(part):
    caught = {
        wrong.caught_by
        for homework, wrong in WRONG
        if homework.name == part.assignment and wrong.file in part.files
    }
    assert caught == {check.name for check in checks_of(part)}


@pytest.mark.drawn(8)
@pytest.mark.parametrize(
    ("homework", "path"),
    [
        one(
            f"{short(homework)}-{path.stem}",
            homework,
            path,
            timed=header(path)["replaces"] in TIMED_FILES[homework.name],
        )
        for homework, path in RIGHT
    ],
)
def test_right_solutions_get_full_points(examiner, submission, homework, path, unsettled):
    replaced, text = header(path)["replaces"], path.read_text(encoding="utf-8")
    part = part_of(homework, replaced)
    # The items of this file: the others are the reference's, which its own test examines.
    items = [item for item in part.items if part.modules[item] == replaced]
    names = [check.name for check in checks_of(part) if check.item in items]
    with unsettled(part, names, text) as to_examine:
        if to_examine:
            report = examiner.examine(part, submission(part, [(replaced, text)]), items=items)
            assert failures(report) == {}
            assert {item: report.points(item) for item in items} == {item: part.items[item] for item in items}


@pytest.mark.parametrize("homework", EVERY_HOMEWORK)
def test_every_file_has_right_solutions_by_two_methods(homework):
    headers = [header(path) for owner, path in RIGHT if owner == homework]
    assert len({each["method"] for each in headers}) == len(headers)
    replaced = [each["replaces"] for each in headers]
    for part in homework.parts.values():
        for name in part.files:
            assert replaced.count(name) >= 2, name
