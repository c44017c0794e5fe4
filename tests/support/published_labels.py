"""What the values in published masks mean: from the tables of their authors, not from what is tested."""

from __future__ import annotations

VOID = "void"

CITYSCAPES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
TRAIN_IDS = {**dict(enumerate(CITYSCAPES)), 255: VOID}
LABEL_IDS = {
    0: VOID, 1: VOID, 2: VOID, 3: VOID, 4: VOID, 5: VOID, 6: VOID, 7: "road", 8: "sidewalk", 9: VOID, 10: VOID,
    11: "building", 12: "wall", 13: "fence", 14: VOID, 15: VOID, 16: VOID, 17: "pole", 18: VOID, 19: "traffic light",
    20: "traffic sign", 21: "vegetation", 22: "terrain", 23: "sky", 24: "person", 25: "rider", 26: "car", 27: "truck",
    28: "bus", 29: VOID, 30: VOID, 31: "train", 32: "motorcycle", 33: "bicycle",
}  # fmt: skip

ANOMALY = {0: "known", 1: "anomaly", 255: VOID}

IDD_IDS = {
    0: "road", 1: "drivable fallback", 2: "sidewalk", 3: "non-drivable fallback", 4: "person", 5: "rider",
    6: "motorcycle", 7: "bicycle", 8: "autorickshaw", 9: "car", 10: "truck", 11: "bus", 12: "vehicle fallback",
    13: "curb", 14: "wall", 15: "fence", 16: "guard rail", 17: "billboard", 18: "traffic sign",
    19: "traffic light", 20: "pole", 21: "obstacle fallback", 22: "building", 23: "bridge or tunnel",
    24: "vegetation", 25: "sky", 255: VOID,
}  # fmt: skip

STREETHAZARDS = (
    "unlabeled", "building", "fence", "other", "pedestrian", "pole", "road line", "road", "sidewalk", "vegetation",
    "car", "wall", "traffic sign", "anomaly",
)  # fmt: skip

LABEL_COLORS = """
64 128 64 Animal
192 0 128 Archway
0 128 192 Bicyclist
0 128 64 Bridge
128 0 0 Building
64 0 128 Car
64 0 192 CartLuggagePram
192 128 64 Child
192 192 128 Column_Pole
64 64 128 Fence
128 0 192 LaneMkgsDriv
192 0 64 LaneMkgsNonDriv
128 128 64 Misc_Text
192 0 192 MotorcycleScooter
128 64 64 OtherMoving
64 192 128 ParkingBlock
64 64 0 Pedestrian
128 64 128 Road
128 128 192 RoadShoulder
0 0 192 Sidewalk
192 128 128 SignSymbol
128 128 128 Sky
64 128 192 SUVPickupTruck
0 0 64 TrafficCone
0 64 64 TrafficLight
192 64 128 Train
128 128 0 Tree
192 128 192 Truck_Bus
64 0 64 Tunnel
192 192 0 VegetationMisc
0 0 0 void
64 192 0 Wall
"""
