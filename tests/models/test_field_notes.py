"""Every technique that the practitioners tried is a configuration, or a setting of a part; and a test holds what it does."""

from __future__ import annotations

import json
import math
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from toy_sizes import at_toy_size, toy_files

from napari_medlab.models.augmentation import build_transforms
from napari_medlab.models.configurations import list_configurations, read_configuration
from napari_medlab.models.detection.detections import DecodeSettings, Detections
from napari_medlab.models.detection.suppression import suppress
from napari_medlab.models.networks import build_network
from napari_medlab.models.training.objectives import build_objective
from napari_medlab.models.training.recipe import Recipe
from napari_medlab.models.training.samplers import build_sampler

if TYPE_CHECKING:
    from torch import nn

HERE = Path(__file__).parent

# technique, configuration, where it says so, what it says, the test that holds what the technique does
Row = tuple[str, str, str, Any, str]

MAMMOGRAMS: list[Row] = [
    ("anchors at 0.5 and 0.4", "mammogram-retinanet", "objective.arguments.matcher",
     {"name": "iou", "positive": 0.5, "negative": 0.4}, "matchers.thresholds_split_anchors_in_three"),
    ("anchors at 0.3 and 0.2", "mammogram-low-iou", "objective.arguments.matcher",
     {"name": "iou", "positive": 0.3, "negative": 0.2}, "matchers.thresholds_split_anchors_in_three"),
    ("S3FD's compensation", "mammogram-s3fd", "objective.arguments.matcher",
     {"name": "s3fd", "positive": 0.35, "least": 0.1}, "matchers.s3fd_gives_a_small_box_its_fair_share"),
    ("ATSS", "mammogram-atss", "objective.arguments.matcher.name", "atss",
     "matchers.atss_finds_its_threshold_from_the_anchors_around_the_box"),
    ("NMS", "mammogram-retinanet", "postprocessing.overlap", "nms", "suppression.the_better_of_two_boxes_that_overlap_stays"),
    ("soft-NMS", "mammogram-soft-nms", "postprocessing",
     {"overlap": "soft-nms", "options": {"decay": "gaussian", "sigma": 0.5}}, "suppression.soft_nms_lowers_the_weaker_score"),
    ("soft-NMS, linear", "mammogram-soft-nms-linear", "postprocessing.options.decay", "linear",
     "suppression.linear_soft_nms_leaves_what_overlaps_less_than_the_setting"),
    ("weighted box fusion", "mammogram-wbf", "postprocessing.overlap", "wbf",
     "suppression.fusion_averages_two_models_that_agree"),
    ("P6 from C5", "mammogram-retinanet", "network.arguments.p6_from", "c5",
     "pyramid.p6_is_made_from_the_backbone_or_from_the_pyramid"),
    ("P6 from P5", "mammogram-p6-from-p5", "network.arguments.p6_from", "p5",
     "pyramid.p6_learns_through_the_pyramid_only_where_it_comes_from_p5"),
    ("hard background anchors", "mammogram-hard-negatives", "objective.arguments.hard_negatives.ratio", 3.0,
     "one_stage_objective.hard_negatives_leave_out_the_easy_ones"),
    ("BCE of classes", "mammogram-hard-negatives", "objective.arguments.classification.name", "bce",
     "losses_detection.the_focal_loss_without_its_exponent_is_cross_entropy"),
    ("focal loss, 2.0 and 0.25", "mammogram-retinanet", "objective.arguments.classification",
     {"name": "focal", "gamma": 2.0, "alpha": 0.25}, "losses_detection.the_focal_loss_worked_by_hand"),
    ("Huber's loss of boxes", "mammogram-retinanet", "objective.arguments.box.name", "huber",
     "losses_detection.box_losses_worked_by_hand"),
    ("IoU loss of boxes", "mammogram-giou", "objective.arguments.box.name", "giou",
     "losses_detection.box_losses_fall_on_the_way_to_the_box"),
    ("FSAF beside the anchors", "mammogram-fsaf", "objective.arguments.anchor_free",
     {"name": "fsaf", "effective": 0.2, "ignoring": 0.5}, "one_stage_assignment.fsaf_picks_the_level_with_the_least_loss"),
    ("FSAF, regions 0.5 and 1.0", "mammogram-fsaf-wider", "objective.arguments.anchor_free",
     {"effective": 0.5, "ignoring": 1.0}, "one_stage_assignment.fsaf_regions_worked_by_hand"),
    ("FSAF, regions 1.0", "mammogram-fsaf-whole", "objective.arguments.anchor_free", {"effective": 1.0, "ignoring": 1.0},
     "one_stage_assignment.fsaf_regions_worked_by_hand"),
    ("FSAF, lambda 0.5", "mammogram-fsaf", "objective.arguments.weights.anchor_free", 0.5,
     "one_stage_objective.the_weights_of_the_notes_can_be_said"),
    ("FSAF, lambda 1.0", "mammogram-fsaf-lambda-1", "objective.arguments.weights.anchor_free", 1.0,
     "one_stage_objective.the_weights_of_the_notes_can_be_said"),
    ("FSAF, lambda 1.5", "mammogram-fsaf-lambda-1.5", "objective.arguments.weights.anchor_free", 1.5,
     "one_stage_objective.the_weights_of_the_notes_can_be_said"),
    ("FSAF, focal 2.0 and 0.5", "mammogram-fsaf", "objective.arguments.classification", {"gamma": 2.0, "alpha": 0.5},
     "losses_detection.the_focal_loss_worked_by_hand"),
    ("three anchor ratios", "mammogram-fsaf-lambda-1", "network.arguments.anchors.ratios", [0.5, 1.0, 2.0],
     "anchors.a_ratio_is_height_over_width_at_the_same_area"),
    ("one anchor ratio", "mammogram-fsaf-one-ratio", "network.arguments.anchors.ratios", [1.0],
     "anchors.a_ratio_is_height_over_width_at_the_same_area"),
    ("FSAF alone", "mammogram-fsaf-alone", "network.arguments.anchors", None,
     "one_stage.a_branch_without_anchors_reaches_from_its_cells"),
    ("centre-ness in the classification head", "mammogram-centreness-classification", "network.arguments.centreness.place",
     "classification", "one_stage.centreness_is_said_where_it_is_placed"),
    ("centre-ness in the regression head", "mammogram-centreness-regression", "network.arguments.centreness.place",
     "regression", "one_stage.centreness_is_said_where_it_is_placed"),
    ("centre-ness of both heads", "mammogram-centreness-averaged", "network.arguments.centreness.place", "both",
     "one_stage.centreness_is_said_where_it_is_placed"),
    ("centre-ness multiplied in before the loss", "mammogram-centreness-multiplied",
     "network.arguments.centreness.multiplied", "loss",
     "one_stage_objective.the_class_moves_centreness_only_where_it_is_multiplied_before_the_loss"),
    ("centre-ness of anchors", "mammogram-centreness-anchors", "network.arguments.centreness.branches",
     ["anchors", "anchor_free"], "one_stage.centreness_is_said_where_it_is_placed"),
    ("Huber's loss of centre-ness", "mammogram-centreness-huber", "objective.arguments.centreness.name", "huber",
     "losses_detection.the_losses_of_centreness_worked_by_hand"),
    ("centre-ness with negatives", "mammogram-centreness-negatives", "objective.arguments.centreness",
     {"name": "bce", "negatives": True}, "losses_detection.background_moves_centreness_only_where_it_counts"),
    ("Huber's with negatives", "mammogram-centreness-huber-negatives", "objective.arguments.centreness",
     {"name": "huber", "negatives": True}, "losses_detection.background_moves_centreness_only_where_it_counts"),
    ("terms rebalanced", "mammogram-rebalanced", "objective.arguments.weights",
     {"anchors.classification": 2.5, "anchors.box": 2.0, "anchor_free.centreness": 0.02},
     "one_stage_objective.the_weights_of_the_notes_can_be_said"),
    ("FCOS with anchors", "mammogram-fcos-with-anchors", "objective.arguments.anchor_free.name", "fcos",
     "one_stage_assignment.fcos_gives_a_box_to_the_level_of_its_size"),
    ("FCOS alone", "mammogram-fcos", "network.arguments.anchors", None,
     "one_stage_assignment.fcos_gives_a_cell_to_the_smallest_box_around_it"),
    ("FCOS near the middle alone", "mammogram-fcos-centre", "objective.arguments.anchor_free",
     {"name": "fcos", "radius": 1.5}, "one_stage_assignment.fcos_gives_a_box_to_the_level_of_its_size"),
    ("resized by half", "mammogram-halved", "augmentation.halve-size.probability", 0.5,
     "augmentation_geometry.interpolating_moves_carry_boxes_within_a_voxel_of_masks"),
    ("random mask, no drop", "mammogram-random-mask", "augmentation.random-mask.arguments",
     {"share": [0.1, 0.5], "no_drop": True}, "random_mask.without_dropping_the_lesion_is_never_covered_entirely"),
    ("random mask, careless", "mammogram-random-mask-careless", "augmentation.random-mask.arguments.no_drop", False,
     "random_mask.with_dropping_a_lesion_that_is_covered_entirely_loses_its_box"),
    ("elastic, 0.5", "mammogram-elastic", "augmentation.elastic.arguments.strength", 0.5,
     "augmentation_geometry.boxes_of_elastic_deformation_are_those_of_the_deformed_masks"),
    ("elastic, the inverse field", "mammogram-elastic-inverse", "augmentation.elastic.arguments",
     {"strength": 0.5, "is_inverse": True}, "augmentation_geometry.an_image_that_was_deformed_comes_back_by_the_inverse"),
    ("elastic, 0.8", "mammogram-elastic-strong", "augmentation.elastic.arguments.strength", 0.8,
     "augmentation_geometry.elastic_deformation_never_folds_and_can_be_undone"),
    ("cutout", "mammogram-cutout", "augmentation.cutout.arguments.holes", 4,
     "random_mask.cutout_fills_holes_and_drops_what_is_hidden"),
    ("random contrast", "mammogram-contrast", "augmentation.contrast.arguments.gamma", [0.7, 1.4],
     "augmentation_transforms.grey_scales_are_bent_but_keep_their_order_and_ends"),
    ("small lesions copied", "mammogram-copied-lesions", "augmentation.copy-lesions.arguments.most_diameter", 24.0,
     "augmentation_transforms.copies_touch_no_other_object_and_bring_their_masks"),
    ("without normal images", "mammogram-without-normals", "sampler.arguments.positive_share", 1.0,
     "samplers.positives_have_their_share_of_every_batch"),
    ("with normal images", "mammogram-normals", "sampler.arguments.positive_share", 0.5,
     "samplers.images_with_lesions_balance_against_images_without"),
    ("steps an epoch × 5", "mammogram-steps-5", "sampler", {"name": "ordered", "arguments": {"times": 5}},
     "samplers.an_epoch_may_hold_each_sample_several_times"),
    ("steps an epoch × 10", "mammogram-steps-10", "sampler.arguments.times", 10,
     "samplers.an_epoch_may_hold_each_sample_several_times"),
    ("FROC decides", "mammogram-retinanet", "recipe.validation", {"metric": "cpm", "better": "higher"},
     "training_validation.detections_are_judged_by_the_rules_of_luna16"),
]  # fmt: skip

KIDNEY: list[Row] = [
    *((f"U-Net on b{n}", f"kidney-unet-b{n}", "network", {"name": "efficient-unet", "arguments": {"encoder": f"b{n}"}},
       "networks_segmentation.larger_encoders_are_larger") for n in range(8)),
    *((f"LinkNet on b{n}", f"kidney-linknet-b{n}", "network", {"name": "linknet", "arguments": {"encoder": f"b{n}"}},
       "linknet.the_decoder_adds_what_the_encoder_saw") for n in range(8)),
    ("tiles of 256 pixels", "kidney-unet-b0", "sampler.arguments.shape", [256, 256],
     "augmentation_geometry.a_patch_holds_what_the_image_holds_there"),
    ("tiles of 1024 pixels", "kidney-1024", "sampler.arguments.shape", [1024, 1024],
     "augmentation_geometry.a_patch_holds_what_the_image_holds_there"),
    ("overlapping tiles", "kidney-overlapping", "tiling.overlap", 0.25, "engine_planning.overlapping_weights_add_up_to_one"),
    ("shifted tiles", "kidney-shifted", "tiling.shifts", [[256, 256]],
     "engine_planning.a_shifted_grid_covers_the_image_once_more"),
    ("BCE", "kidney-unet-b0", "objective.arguments.loss", "bce", "segmentation_objective.each_loss_by_hand"),
    ("BCE + Jaccard", "kidney-unet-bce-jaccard", "objective.arguments.loss", "bce+jaccard",
     "segmentation_objective.sums_carry_their_weights_and_name_their_terms"),
    ("Jaccard", "kidney-unet-jaccard", "objective.arguments.loss", "jaccard", "segmentation_objective.each_loss_by_hand"),
    ("Dice", "kidney-unet-dice", "objective.arguments.loss", "dice", "segmentation_objective.each_loss_by_hand"),
    ("BCE + Dice", "kidney-unet-bce-dice", "objective.arguments.loss", "bce+dice",
     "segmentation_objective.sums_carry_their_weights_and_name_their_terms"),
    ("learning rate 1e-3, decayed", "kidney-unet-b0", "recipe",
     {"learning_rate": 1e-3, "schedule": {"name": "exponential", "floor": 0.1}},
     "schedules.an_exponential_takes_the_same_share_in_every_step"),
    ("learning rate 5e-4", "kidney-rate-5e-4", "recipe.learning_rate", 5e-4, "schedules.warm_up_and_decay_are_multiplied"),
    ("learning rate 1e-4", "kidney-rate-1e-4", "recipe.learning_rate", 1e-4, "schedules.warm_up_and_decay_are_multiplied"),
    ("batches of 32", "kidney-unet-b0", "recipe.batch_size", 32, "training.parts_of_a_batch_do_what_the_whole_does"),
    ("batches of 64", "kidney-batch-64", "recipe.batch_size", 64, "training.parts_of_a_batch_do_what_the_whole_does"),
    ("batches of 128", "kidney-batch-128", "recipe", {"batch_size": 128, "accumulate": 8},
     "training.parts_of_a_batch_do_what_the_whole_does"),
    ("Lookahead", "kidney-lookahead", "recipe.optimiser", {"name": "adam", "lookahead": {"steps": 5, "share": 0.5}},
     "optimisers.slow_weights_go_half_way_after_every_other_step"),
    ("cosine", "kidney-cosine", "recipe.schedule.name", "cosine", "schedules.a_cosine_falls_to_its_floor"),
    ("shuffled", "kidney-shuffled", "sampler", {"name": "ordered", "arguments": {"is_shuffled": True}},
     "samplers.every_epoch_has_each_sample_once_and_an_order_of_its_own"),
    ("ordered", "kidney-ordered", "sampler.arguments.is_shuffled", False,
     "samplers.every_epoch_has_each_sample_once_and_an_order_of_its_own"),
    ("flipped and turned at test time", "kidney-test-time", "postprocessing.test_time", ["flip y", "flip x", "rot180"],
     "ensembling_maps.averaged_over_a_group_maps_turn_with_the_image"),
    ("threshold", "kidney-threshold", "postprocessing.threshold", 0.4,
     "training_validation.a_segmenter_is_judged_at_its_best_threshold"),
    ("early stopping", "kidney-unet-b0", "recipe.validation", {"metric": "dice", "patience": 6},
     "training.a_training_that_gets_no_better_stops_early"),
    ("bad cases and external data", "kidney-external", "sampler.arguments.lesion_share", 0.7,
     "augmentation_geometry.patches_hold_lesions_as_often_as_asked_for"),
    ("what two cores can train", "kidney-small", "network.name", "unet",
     "networks_segmentation.a_few_steps_reach_every_weight_and_lower_the_loss"),
]  # fmt: skip

BODIES = {
    "vgg": "every_body_with_every_pooling_learns_and_reaches_all_weights",
    "residual": "every_body_with_every_pooling_learns_and_reaches_all_weights",
    "se-residual": "the_squeeze_weighs_the_change_before_the_addition_and_the_sum_after_it",
    "dense": "dense_layers_see_all_that_came_before",
    "inception-residual": "inception_has_branches_of_three_reaches",
}

LUNGS: list[Row] = [
    *((f"{body}, {side} voxels", f"lung-{body}-{side}", "network.arguments", {"body": body, "sides": [side]},
       f"classification_network.{test}") for body, test in BODIES.items() for side in (24, 32, 40)),
    ("isotropic 1 mm", "lung-vgg-24", "preprocessing.spacing_mm", 1.0,
     "cubes.a_cube_is_what_resampling_the_whole_volume_would_give"),
    ("window -1000 … 400", "lung-vgg-40", "preprocessing.window", [-1000, 400], "cubes.settings_come_back_from_the_bundle"),
    ("window -1200 … 600", "lung-vgg-wide-window", "preprocessing.window", [-1200, 600],
     "cubes.settings_come_back_from_the_bundle"),
    ("three branches, VGG", "lung-vgg-three-branches", "network.arguments.sides", [24, 32, 40],
     "classification_network.each_branch_has_its_own_cube_and_gradients"),
    ("three branches, residual", "lung-residual-three-branches", "network.arguments.sides", [24, 32, 40],
     "classification_network.one_branch_is_not_several"),
    ("PReLU", "lung-vgg-40", "network.arguments.activation", "prelu",
     "classification_network.prelu_has_slopes_to_learn_and_relu_none"),
    ("ReLU", "lung-vgg-relu", "network.arguments.activation", "relu",
     "classification_network.prelu_has_slopes_to_learn_and_relu_none"),
    ("fully connected", "lung-residual-fully-connected", "network.arguments.pooling", "fully connected",
     "classification_network.every_body_with_every_pooling_learns_and_reaches_all_weights"),
    ("global pooling", "lung-residual-40", "network.arguments.pooling", "global",
     "classification_network.global_pooling_sees_everything_and_forgets_where"),
    ("centre crop", "lung-se-residual-centre-crop", "network.arguments.pooling", "centre crop",
     "classification_network.centre_crop_sees_only_the_centre"),
    ("centre pooling", "lung-se-residual-centre-pooling", "network.arguments.pooling", "centre pooling",
     "classification_network.centre_pooling_takes_the_largest_of_three_crops"),
    ("global pooling and centre crop", "lung-se-residual-both-poolings", "network.arguments.pooling",
     ["global", "centre crop"], "classification_network.every_other_choice_learns_and_reaches_all_weights"),
    ("squeeze before the addition", "lung-se-residual-40", "network.arguments.se_place", "before",
     "classification_network.the_squeeze_weighs_the_change_before_the_addition_and_the_sum_after_it"),
    ("squeeze after the addition", "lung-se-residual-after", "network.arguments.se_place", "after",
     "classification_network.both_places_have_the_same_weights_and_differ_in_what_they_give"),
    ("positives × 108", "lung-vgg-24", "sampler.arguments.positive_times", 108,
     "samplers.samples_are_drawn_as_often_as_their_weights_say"),
    ("negatives × 27", "lung-negatives-27", "sampler.arguments.positive_times", 4,
     "samplers.samples_are_drawn_as_often_as_their_weights_say"),
    ("all turns of a cube", "lung-vgg-24", "augmentation.symmetries.arguments.group", "cube",
     "symmetries.a_group_is_closed_and_has_its_order"),
    ("translated", "lung-vgg-24", "augmentation.translate.arguments.most", 2,
     "augmentation_geometry.exact_moves_carry_boxes_and_masks_alike"),
    ("positive covered by a negative's block", "lung-dense-random-mask", "augmentation.cover-positives.arguments",
     {"size": 14, "share": 0.5}, "random_mask.covered_positives_become_negatives_of_the_same_batch"),
    ("the same for another network", "lung-se-residual-random-mask", "augmentation.cover-positives.arguments.share", 0.5,
     "random_mask.covered_positives_become_negatives_of_the_same_batch"),
    ("turned at test time", "lung-rotations-at-test-time", "postprocessing.test_time", ["cube rotations"],
     "ensembling_maps.a_classifier_gives_one_answer_for_all_turns"),
    ("focal loss", "lung-focal", "objective.arguments", {"loss": "focal", "gamma": 2.0},
     "classification_objective.the_focal_loss_by_hand"),
    ("L2 weight decay", "lung-weight-decay", "recipe.optimiser", {"name": "adam", "weight_decay": 1e-4},
     "optimisers.weights_decay_and_biases_and_norms_do_not"),
    ("hard mining in rounds at 1 : 4", "lung-hard-mining", "sampler", {"name": "hard-mining", "arguments": {"ratio": 4.0}},
     "samplers.a_round_holds_negatives_at_its_ratio"),
    ("rounds while it trains", "lung-hard-mining", "recipe.mining_every", 4000,
     "training_validation.rounds_of_hard_mining_are_remembered_over_a_stop"),
    ("the hardest alone", "lung-hardest-alone", "sampler.arguments", {"widening": 1.0, "random_share": 0.0},
     "samplers.the_hardest_alone_come_with_a_warning"),
    ("online hard examples", "lung-online-hard-examples", "sampler", {"name": "ohem", "arguments": {"hard_share": 0.5}},
     "samplers.samples_with_greater_losses_are_drawn_more_often"),
    ("step decay", "lung-vgg-24", "recipe.schedule", {"name": "step", "milestones": [0.5, 0.75]},
     "schedules.a_step_decay_falls_behind_each_milestone"),
]  # fmt: skip

PHOTOS: list[Row] = [
    ("Faster R-CNN, R50", "photo-faster-r50", "network.arguments",
     {"backbone": {"name": "resnet50"}, "head": {"name": "faster"}},
     "two_stage_objective.every_configuration_trains_and_the_gradient_reaches_every_part"),
    ("Faster R-CNN, R101", "photo-faster-r101-dcn", "network.arguments.backbone.name", "resnet101",
     "pyramid.backbones_have_their_widths"),
    ("Cascade R-CNN, R50", "photo-cascade-r50", "network.arguments.head.name", "cascade",
     "two_stage_objective.each_stage_is_shown_what_the_one_before_refined_and_the_truth_once"),
    ("Cascade, deformable", "photo-cascade-r50-dcn", "network.arguments",
     {"head": {"name": "cascade"}, "deformable": {"stages": ["c3", "c4", "c5"]}},
     "deformable.gradients_reach_offsets_weights_kernel_and_image_and_are_right"),
    ("Cascade, multi-scale", "photo-cascade-r50-dcn-multi-scale", "augmentation.multi-scale.probability", 1.0,
     "two_stage_objective.one_network_trains_on_images_of_any_size_divisible_by_its_multiple"),
    ("Cascade R-CNN, R101", "photo-cascade-r101-dcn", "network.arguments",
     {"backbone": {"name": "resnet101"}, "head": {"name": "cascade"}},
     "two_stage_objective.each_stage_of_a_cascade_asks_for_more_overlap"),
    ("feature pyramid", "photo-faster-r50", "network.arguments.levels", [2, 3, 4, 5, 6],
     "two_stage.small_regions_are_cut_from_fine_levels"),
    ("deformable convolutions", "photo-faster-r50-dcn", "network.arguments.deformable.stages", ["c3", "c4", "c5"],
     "two_stage.deformable_stages_are_those_asked_for_and_begin_as_plain_ones"),
    ("anchor ratios 0.2 … 5", "photo-faster-r50-ratios", "network.arguments.anchors.ratios", [0.2, 0.5, 1.0, 2.0, 5.0],
     "two_stage.anchors_come_in_the_ratios_and_on_the_levels_that_are_asked_for_up_to_p6"),
    ("multi-scale training", "photo-faster-r50-multi-scale", "augmentation.multi-scale.arguments.sizes",
     [[640, 1088], [768, 1344], [896, 1536]],
     "augmentation_geometry.a_batch_of_many_scales_has_one_shape_and_the_next_another"),
    ("longer side 1080", "photo-faster-r50", "preprocessing.longest_side", 1080,
     "augmentation_geometry.resampling_keeps_borders_and_means"),
    ("longer side 1920", "photo-faster-r50-large", "preprocessing.longest_side", 1920,
     "augmentation_geometry.resampling_keeps_borders_and_means"),
    ("OHEM", "photo-faster-r50-ohem", "objective.arguments.sampler", {"name": "ohem", "count": 128},
     "two_stage_objective.ohem_shows_the_head_exactly_the_regions_with_the_largest_losses_of_each_image"),
    ("OHEM, one spot once", "photo-cascade-r50-ohem", "objective.arguments.sampler", {"name": "ohem", "iou": 0.7},
     "sampling_boxes.ohem_counts_a_spot_once_where_overlap_is_limited"),
    ("regions at random", "photo-faster-r50", "objective.arguments.sampler",
     {"name": "random", "count": 256, "positive": 0.25}, "sampling_boxes.a_quarter_is_matched_and_the_rest_fills_up"),
    ("hard negatives", "photo-faster-r50-hard-negatives", "objective.arguments.sampler.name", "hard-negative",
     "sampling_boxes.hard_negatives_come_from_the_pool_of_those_with_the_highest_scores"),
    ("warm-up and steps", "photo-faster-r50", "recipe.schedule", {"name": "step", "warmup_steps": 500, "gamma": 0.1},
     "schedules.the_warm_up_is_a_straight_line"),
    ("SGD", "photo-faster-r50", "recipe.optimiser", {"name": "sgd", "momentum": 0.9, "weight_decay": 1e-4},
     "optimisers.each_name_is_its_optimiser"),
    ("soft-NMS of a cascade", "photo-cascade-r50-soft-nms", "postprocessing.overlap", "soft-nms",
     "suppression.soft_nms_lowers_the_weaker_score"),
    ("flipped at test time", "photo-cascade-r50-flipped", "postprocessing.test_time", ["flip x"],
     "ensembling_maps.boxes_are_turned_back_and_fused"),
    ("one stage for comparison", "photo-retinanet-r50", "network.name", "one-stage",
     "one_stage.a_bright_square_is_found_after_sixty_steps"),
]  # fmt: skip

NODULES: list[Row] = [
    ("centres as heatmaps", "nodule-centre-heatmap", "network.name", "centre-heatmap",
     "heatmap.a_few_steps_lower_the_loss_and_reach_every_weight"),
    ("RetinaNet in 3D", "nodule-retinanet", "network.arguments", {"spatial_dims": 3, "anchors": {"ratios": [1.0]}},
     "one_stage_objective.volumes_learn_as_images_do"),
    ("FCOS in 3D", "nodule-fcos", "objective.arguments.anchor_free.name", "fcos",
     "losses_detection.centreness_in_3d_is_the_cube_root"),
    ("old and new examples in one batch", "nodule-replay", "sampler", {"name": "mixed", "arguments": {"replay_share": 0.5}},
     "samplers.a_share_of_every_batch_is_old"),
    ("objects of some size", "nodule-unet", "postprocessing.least_volume_mm3", 14.0,
     "segmentation_objects.the_least_size_is_read_in_the_units_of_the_bundle"),
    ("masks in 3D", "nodule-unet", "network.arguments.spatial_dims", 3,
     "segmentation_objects.objects_of_a_volume_do_not_depend_on_how_it_is_cut"),
    ("AdamW", "nodule-centre-heatmap", "recipe.optimiser.name", "adamw",
     "optimisers.decoupled_decay_takes_its_share_of_the_weight"),
    ("nothing looked at in air", "nodule-centre-heatmap", "tiling.skip.rule", "air",
     "engine_planning.tiles_are_laid_over_the_foreground_alone"),
]  # fmt: skip

ROWS = [*MAMMOGRAMS, *KIDNEY, *LUNGS, *PHOTOS, *NODULES]

# what no row of the notes is about, and the family has: part, name, its arguments, the test that holds what it does
SETTINGS: list[tuple[str, str, str, dict[str, Any], str]] = [
    ("IoU loss", "objective", "one-stage", {"box": {"name": "iou"}}, "losses_detection.box_losses_worked_by_hand"),
    ("distance IoU", "objective", "one-stage", {"box": {"name": "diou"}}, "losses_detection.box_losses_worked_by_hand"),
    ("-ln IoU", "objective", "one-stage", {"anchor_free_box": {"name": "log-iou"}},
     "losses_detection.box_losses_worked_by_hand"),
    ("any triple of thresholds", "objective", "one-stage",
     {"matcher": {"name": "iou", "positive": 0.6, "negative": 0.1, "low_quality": False}},
     "matchers.a_box_without_anchors_takes_the_best_if_it_may"),
    ("Cascade's thresholds", "objective", "two-stage", {"ious": [0.4, 0.5, 0.6]},
     "two_stage_objective.each_stage_of_a_cascade_asks_for_more_overlap"),
    ("two stages in 3D", "network", "two-stage",
     {"spatial_dims": 3, "in_channels": 1, "levels": [2, 3], "channels": 8, "head": {"hidden": 8},
      "backbone": {"name": "resnet10", "planes": [4, 4, 8, 8]}},
     "two_stage_objective.volumes_train_by_the_same_code"),
    ("all losses of masks", "objective", "segmentation", {"loss": "bce+dice+jaccard+focal", "weights": [1, 1, 1, 0.5]},
     "segmentation_objective.sums_carry_their_weights_and_name_their_terms"),
    ("cubes of any size", "network", "cube-classifier", {"sides": [28], "body": "vgg"},
     "classification_network.the_practitioners_cubes_fit"),
    ("classifier in 2D", "network", "cube-classifier", {"spatial_dims": 2, "sides": [32]},
     "classification_network.planes_and_volumes_and_both_stems"),
    ("24 turns", "augmentation", "symmetries", {"group": "cube rotations"}, "symmetries.a_group_is_closed_and_has_its_order"),
    ("turned by angles", "augmentation", "rotate", {"degrees": 20},
     "augmentation_geometry.a_quarter_turn_by_angle_is_the_exact_one"),
    ("labels smoothed", "objective", "classification", {"label_smoothing": 0.1},
     "classification_objective.smoothing_draws_targets_to_the_middle"),
    ("specks at one scale, masses at another", "network", "scaled-heatmap",
     {"scales": [{"factor": 1, "classes": [0], "channels": [4, 4]}, {"factor": 4, "classes": [1], "channels": [4, 4]}]},
     "heatmap.a_scaled_network_learns_each_class_in_its_own_part"),
    ("folds averaged", "network", "ensemble", {"members": [{"name": "unet", "arguments": {"channels": [4, 4]}}] * 2},
     "ensembling_maps.folds_are_joined_from_their_own_tensors"),
    ("detectors fused", "network", "ensemble",
     {"members": [{"name": "centre-heatmap", "arguments": {"spatial_dims": 2, "channels": [4, 4]}}] * 2, "join": "boxes"},
     "ensembling_maps.boxes_of_detectors_are_fused"),
    ("mixed precision", "recipe", "", {"steps": 1, "precision": "bfloat16"}, "training.half_precision_on_a_cpu_is_refused"),
    ("mean of the weights", "recipe", "", {"steps": 1, "ema_decay": 0.99},
     "training.the_average_of_weights_is_the_one_of_its_equation"),
    ("parts that stand still at first", "recipe", "", {"steps": 1, "freeze": {"prefixes": ["pyramid."], "steps": 10}},
     "training.a_frozen_part_stands_still_for_the_steps_that_it_is_told_to"),
]  # fmt: skip

# what is asked of a project or a person, and so no configuration: technique, what does it, the test that holds it
STEPS: list[tuple[str, str, str]] = [
    ("folds that keep patients together", "training.folds:assign_folds",
     "folds.folds_never_share_a_patient_and_are_stratified"),
    ("every n-th frame of a sequence", "training.folds:interval_split",
     "folds.every_nth_frame_of_each_sequence_is_for_validation"),
    ("a split that leaks is refused", "training.folds:check_no_leak", "folds.a_patient_in_two_folds_is_a_leak"),
    ("weights of an ensemble, never on test cases", "ensembling.weights:search_weights",
     "ensembling_weights.a_search_on_test_cases_is_refused_before_anything_is_looked_at"),
    ("weight of detector and classifier", "ensembling.weights:search_fusion",
     "ensembling_weights.the_weight_of_detector_and_classifier"),
    ("candidates of several detectors", "ensembling.candidates:fuse_candidates",
     "ensembling_weights.candidates_of_several_detectors_become_one_list"),
    ("threshold on validation cases", "segmentation.threshold:ThresholdSearch",
     "segmentation_threshold.a_test_case_is_refused"),
    ("scores joined", "classification.fusion:fuse", "classification_objective.fusion_by_hand"),
    ("ambiguous candidates left out", "training.samplers:is_near_miss", "samplers.near_misses_lie_beside_a_lesion"),
    ("the hardest by several models", "training.hard_mining:HardMiningSampler",
     "samplers.the_hardest_of_several_models_are_those_that_any_of_them_scores_high"),
    ("outlines of masks", "segmentation.objects:objects_of",
     "segmentation_objects.objects_of_a_plane_do_not_depend_on_how_it_is_cut"),
    ("specks become clusters", "detection.clustering:cluster_candidates",
     "clustering.specks_that_lie_together_are_one_cluster_and_lone_ones_are_dropped"),
    ("resumed to the bit", "training.loop:train", "training.a_training_that_was_stopped_goes_on_to_the_bit"),
    ("begun with the weights of another", "workflows.retrain:Experiment",
     "training_process.a_training_may_begin_with_the_weights_of_another"),
    ("TensorBoard", "training.tensorboard:TensorBoardWriter", "training_process.steps_are_written_for_tensorboard"),
    ("nothing overwritten", "bundles:write_bundle", "bundles.nothing_is_overwritten"),
]  # fmt: skip


def said(configuration: str, path: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return what a shipped configuration says at a path; an entry of a list goes by its name, the last one counts."""
    found: Any = read_configuration(configuration).as_json()
    for key in path.split("."):
        found = (
            next(entry for entry in reversed(found) if entry["name"] == key)
            if isinstance(found, list)
            else found[key]
        )
    return found


def holds(value: Any, wanted: Any) -> bool:  # noqa: ANN401 - any JSON values
    """Tell whether a value is what is wanted, or an object with everything in it that is wanted."""
    if isinstance(wanted, dict):
        return isinstance(value, dict) and all(
            key in value and holds(value[key], wanted[key]) for key in wanted
        )
    if isinstance(wanted, float) and not isinstance(value, bool | str | list | dict | None):
        return math.isclose(value, wanted)
    return bool(value == wanted)


@pytest.mark.parametrize(
    ("technique", "name", "path", "wanted", "test"), ROWS, ids=[f"{r[1]}: {r[0]}" for r in ROWS]
)
def test_every_technique_of_the_notes_is_a_configuration_that_says_so(
    technique: str, name: str, path: str, wanted: object, test: str
) -> None:
    assert holds(said(name, path), wanted), f"{name} says {said(name, path)!r} at {path}: {technique}"
    assert is_test(test), f"{test} is no test any more"


@cache
def built(network: str) -> nn.Module:
    document = json.loads(network)
    return build_network(document["name"], document["arguments"])


@pytest.mark.parametrize("name", dict.fromkeys(row[1] for row in ROWS))
@pytest.mark.filterwarnings("ignore:The highest scored negatives alone")
def test_every_configuration_of_the_notes_is_built(name: str, tmp_path: Path) -> None:
    configuration = at_toy_size(read_configuration(name))
    document = configuration.as_json()
    network = built(json.dumps(document["network"], sort_keys=True))
    assert any(parameter.requires_grad for parameter in network.parameters())
    objective = build_objective(configuration.objective.name, configuration.objective.arguments)
    assert callable(objective.losses)
    samples = toy_files(configuration, tmp_path)
    sampler = build_sampler(configuration.sampler.name, samples, configuration.sampler.arguments)
    (drawn,) = sampler.draw(np.random.default_rng(0), 1)
    single, batch = build_transforms(document["augmentation"])
    assert len(single) + len(batch) == len(document["augmentation"])
    if configuration.task == "detection":
        suppress(Detections.none(drawn.dims), DecodeSettings.from_json(configuration.postprocessing))


def test_every_shipped_configuration_is_in_the_list() -> None:
    assert set(list_configurations()) == {row[1] for row in ROWS}


@pytest.mark.parametrize(
    ("technique", "part", "name", "arguments", "test"), SETTINGS, ids=[s[0] for s in SETTINGS]
)
def test_what_the_family_has_besides_is_a_setting(
    technique: str, part: str, name: str, arguments: dict[str, Any], test: str
) -> None:
    builders: dict[str, Any] = {
        "network": lambda: build_network(name, arguments),
        "objective": lambda: build_objective(name, arguments),
        "augmentation": lambda: build_transforms([{"name": name, "arguments": arguments}]),
        "recipe": lambda: Recipe.from_json(arguments),
    }
    assert builders[part]() is not None, technique
    assert is_test(test), f"{test} is no test any more"


@pytest.mark.parametrize(("technique", "place", "test"), STEPS, ids=[step[0] for step in STEPS])
def test_what_is_no_setting_is_a_function(technique: str, place: str, test: str) -> None:
    module, _, attribute = place.partition(":")
    assert callable(getattr(import_module(f"napari_medlab.models.{module}"), attribute)), technique
    assert is_test(test), f"{test} is no test any more"


@cache
def source_of(module: str) -> str:
    return (HERE / f"test_{module}.py").read_text(encoding="utf-8")


def is_test(name: str) -> bool:
    module, _, function = name.partition(".")
    return f"\ndef test_{function}(" in source_of(module)
