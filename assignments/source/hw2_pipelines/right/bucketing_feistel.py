# replaces: bucketing.py
# method: a permutation by formula (a Feistel network with cycle walking), so that any list can be had by its number
from collections import defaultdict

from torch.utils.data import Sampler


class Permutation:
    def __init__(self, count, key):
        self.count, self.half = count, max(1, ((count - 1).bit_length() + 1) // 2)
        self.keys = [hash((key, turn)) & 0xFFFFFFFF for turn in range(4)]

    def __call__(self, place):
        low = (1 << self.half) - 1
        while True:
            left, right = place >> self.half, place & low
            for key in self.keys:
                mixed = ((right ^ key) * 0x9E3779B1 + key) & 0xFFFFFFFF
                mixed = ((mixed ^ mixed >> 15) * 0x85EBCA77) & 0xFFFFFFFF
                left, right = right, left ^ ((mixed ^ mixed >> 13) & low)
            place = left << self.half | right
            if place < self.count:
                return place


class UltraBigBrainBatchSampler(Sampler):
    def __init__(self, lengths, batch_size, k, seed=0, rank=0, world=1):
        buckets = defaultdict(list)
        for index, length in enumerate(lengths):
            buckets[length // (k + 1)].append(index)
        self.buckets = list(buckets.values())
        self.lists = [
            (number, start)
            for number, bucket in enumerate(self.buckets)
            for start in range(0, len(bucket), batch_size)
        ]
        self.size, self.seed, self.rank, self.world, self.epoch = batch_size, seed, rank, world, 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return len(self.lists) // self.world

    def __iter__(self):
        key = (self.seed, self.epoch)
        order = Permutation(len(self.lists), (*key, -1))
        inside = {}
        for turn in range(len(self)):
            number, start = self.lists[order(turn * self.world + self.rank)]
            bucket = self.buckets[number]
            if number not in inside:
                inside[number] = Permutation(len(bucket), (*key, number))
            yield [
                bucket[inside[number](place)] for place in range(start, min(start + self.size, len(bucket)))
            ]
