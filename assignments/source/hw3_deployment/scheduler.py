"""Which requests share a step of the model: three policies on a virtual clock, and what users notice of them."""

from collections.abc import Sequence


def simulate(
    requests: Sequence[dict[str, int]], policy: str, places: int, budget: int, cost: tuple[int, int, int]
) -> list[list[int]]:
    """Return when each token of each request comes out, in microseconds: exact, all numbers are integers.

    A request has "arrival", "prompt" and "output" (tokens, at least one each); they may come in any order. `policy`
    is "static", "prefill_first" or "chunked"; the statement has the rules. A step with p prompt tokens and d
    sequences that decode takes cost[0] + p cost[1] + d cost[2].
    """
    ### BEGIN SOLUTION
    if policy not in _POLICIES:
        raise ValueError(f"no policy is called {policy!r}; there are {', '.join(_POLICIES)}")
    order = sorted(range(len(requests)), key=lambda number: requests[number]["arrival"])
    state = _State(requests, order, places, budget)
    while state.waiting or state.running:
        if not state.running and requests[state.waiting[0]]["arrival"] > state.now:
            state.now = requests[state.waiting[0]]["arrival"]
        prompts, decoding = _POLICIES[policy](state)
        state.now += cost[0] + sum(prompts.values()) * cost[1] + len(decoding) * cost[2]
        for number, tokens in prompts.items():
            state.left[number] -= tokens
            if not state.left[number]:
                state.times[number].append(state.now)
        for number in decoding:
            if len(state.times[number]) < requests[number]["output"]:
                state.times[number].append(state.now)
        ended = [number for number in state.running if len(state.times[number]) == requests[number]["output"]]
        if policy != "static" or len(ended) == len(state.running):
            state.running = [number for number in state.running if number not in ended]
    return state.times
    ### END SOLUTION


### BEGIN SOLUTION
class _State:
    def __init__(self, requests, order, places, budget):
        self.requests, self.places, self.budget = requests, places, budget
        self.waiting, self.running, self.now = list(order), [], 0
        self.left = [request["prompt"] for request in requests]
        self.times = [[] for _ in requests]

    def admit(self):
        """Return a request that has arrived and finds a place, and give it this place; None where there is none."""
        if not self.waiting or len(self.running) == self.places:
            return None
        if self.requests[self.waiting[0]]["arrival"] > self.now:
            return None
        self.running.append(self.waiting.pop(0))
        return self.running[-1]

    def admit_all(self):
        prompts = {}
        while (number := self.admit()) is not None:
            prompts[number] = self.left[number]
        return prompts


def _static(state):
    return (state.admit_all(), []) if not state.running else ({}, list(state.running))


def _prefill_first(state):
    prompts = state.admit_all()
    return prompts, [] if prompts else list(state.running)


def _chunked(state):
    decoding = [number for number in state.running if not state.left[number]]
    budget, prompts = state.budget - len(decoding), {}
    begun = [number for number in state.running if state.left[number]]
    while budget and (number := begun.pop(0) if begun else state.admit()) is not None:
        prompts[number] = min(budget, state.left[number])
        budget -= prompts[number]
    return prompts, decoding


_POLICIES = {"static": _static, "prefill_first": _prefill_first, "chunked": _chunked}


### END SOLUTION
def metrics(requests: Sequence[dict[str, int]], times: Sequence[Sequence[int]]) -> dict[str, float]:
    """Return what users and operators look at; times in microseconds, as `simulate` returns them.

    ttft         mean time to first token: from the arrival to the first token
    tpot         mean over the requests of the time per output token: from the first token to the last, by the number
                 of tokens after the first; requests of one token do not count, and without others it is 0
    ttft_p95     the smallest time to first token that at least 95 % of the requests do not exceed
    throughput   tokens per second, from the first arrival to the last token
    """
    ### BEGIN SOLUTION
    first = sorted(each[0] - request["arrival"] for request, each in zip(requests, times, strict=True))
    per_token = [(each[-1] - each[0]) / (len(each) - 1) for each in times if len(each) > 1]
    seconds = (max(each[-1] for each in times) - min(request["arrival"] for request in requests)) / 1e6
    return {
        "ttft": sum(first) / len(first),
        "tpot": sum(per_token) / max(1, len(per_token)),
        "ttft_p95": first[-(-95 * len(first) // 100) - 1],
        "throughput": sum(map(len, times)) / seconds,
    }
    ### END SOLUTION
