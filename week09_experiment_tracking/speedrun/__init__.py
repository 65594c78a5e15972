"""A speedrun that fits on a laptop: train a network on digits to a target loss, as fast as you can.

Rules, after those of modded-nanogpt (K. Jordan and others, 2024):

1. The target: a mean validation loss of at most `track.TARGET`. A record shows at least 20 runs with different seeds
   whose losses are below it with p < 0.01 (one-sided t-test), none left out.
2. The clock starts with the data in memory, before the network is made; it stops when `train` has returned and the
   device has finished. Imports and validation are not in it.
3. No peeking: `train` gets no validation data, and so stops after what it decided beforehand.
4. Data, split and target stay; everything else is yours: network, optimiser, precision, number of updates.
5. Times of two machines cannot be compared. The baseline runs beside every entry, in turns, and the list is ordered
   by the ratio of the mean times.
6. A track is a kind of hardware: "cpu" (two threads) or "cuda" (one GPU).

`python -m week09_experiment_tracking.speedrun mine.py` runs a file with `train(inputs, targets, seed)`, and adds it
to `records.json` if it keeps the rules; `--check` examines the file as it is.
"""
