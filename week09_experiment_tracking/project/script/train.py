# Digits classifier. Best run so far: 98.9 % (I think with lr 0.05?)
import importlib.util
import random
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

DATA = importlib.util.find_spec("sklearn").submodule_search_locations[0] + "/datasets/data/digits.csv.gz"
WIDTH = 64
LR = 0.05
# LR = 0.1
EPOCHS = 6
BATCH = 64

# ---------------------------------------------------------------- data
table = np.loadtxt(DATA, delimiter=",")
images = table[:, :64].astype("float32")
labels = table[:, 64].astype("int64")
print("images:", images.shape, "labels:", labels.shape)

# more data: every image also shifted by one pixel to four sides
all_images = []
all_labels = []
for i in range(len(images)):
    img = images[i].reshape(8, 8)
    all_images.append(img)
    all_labels.append(labels[i])
    for dx, dy in [(1, 0), (-1, 0), (0, 1), (0, -1)]:
        all_images.append(np.roll(np.roll(img, dx, axis=1), dy, axis=0))
        all_labels.append(labels[i])
images = np.stack(all_images).reshape(-1, 64)
labels = np.array(all_labels)

# normalize
mean = images.mean()
std = images.std()
images = (images - mean) / std

# split
order = list(range(len(images)))
random.shuffle(order)
cut = int(0.8 * len(order))
train_idx = order[:cut]
test_idx = order[cut:]
x_train = torch.tensor(images[train_idx])
y_train = torch.tensor(labels[train_idx])
x_test = torch.tensor(images[test_idx])
y_test = torch.tensor(labels[test_idx])
print("train:", len(x_train), "test:", len(x_test))


# ---------------------------------------------------------------- model
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(64, WIDTH)
        self.bn1 = nn.BatchNorm1d(WIDTH)
        self.fc2 = nn.Linear(WIDTH, WIDTH)
        self.bn2 = nn.BatchNorm1d(WIDTH)
        self.drop = nn.Dropout(0.3)
        self.out = nn.Linear(WIDTH, 10)

    def forward(self, x):
        x = F.relu(self.bn1(self.fc1(x)))
        x = self.drop(x)
        x = F.relu(self.bn2(self.fc2(x)))
        x = self.drop(x)
        return self.out(x)


model = Net()
optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=0.9)


# ---------------------------------------------------------------- training
def test():
    right = 0
    for i in range(0, len(x_test), BATCH):
        x = x_test[i : i + BATCH]
        y = y_test[i : i + BATCH]
        with torch.no_grad():
            right += (model(x).argmax(1) == y).sum().item()
    return right / len(x_test)


best = 0
started = time.time()
for epoch in range(EPOCHS):
    perm = torch.randperm(len(x_train))
    total = 0
    for i in range(0, len(x_train), BATCH):
        idx = perm[i : i + BATCH]
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x_train[idx]), y_train[idx])
        loss.backward()
        optimizer.step()
        total += loss.item()
    acc = test()
    if acc > best:
        best = acc
        torch.save(model.state_dict(), "best.pt")
    print("epoch", epoch, "loss", round(total, 2), "test", round(100 * acc, 2))

print("time", round(time.time() - started, 1))
print("BEST TEST ACCURACY", round(100 * best, 2))

# ---------------------------------------------------------------- which digits are hard?
wrong = [0] * 10
count = [0] * 10
for i in range(len(x_test)):
    with torch.no_grad():
        digit = model(x_test[i : i + 1].repeat(2, 1)).argmax(1)[0].item()
    label = y_test[i].item()
    count[label] += 1
    if digit != label:
        wrong[label] += 1
for digit in range(10):
    print("digit", digit, "wrong", wrong[digit], "of", count[digit])

# ---------------------------------------------------------------- test one image
# img = np.loadtxt("my_digit.txt")
# print(model(torch.tensor((img - mean) / std).float()[None]).argmax())
# np.save("mean_std.npy", [mean, std])
