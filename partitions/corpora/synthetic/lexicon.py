"""The vocabulary of the synthetic notes, by medical specialty: the commonest term of each list first.

Every list is a rule ``kind.specialty`` of the grammar, drawn by Zipf's law. Word-forming rules (``root`` joined to an
ending) stand at the far end of the lists and give the open tail that no training split covers.
"""

import re

SPECIALTIES = (
    "cardiology",
    "pulmonology",
    "gastroenterology",
    "neurology",
    "oncology",
    "orthopedics",
    "nephrology",
    "endocrinology",
    "infectious disease",
    "psychiatry",
)

_SYMPTOMS = {
    "cardiology": "chest pain; palpitations; dyspnea on exertion; orthopnea; lower extremity edema; chest pressure;"
    " chest tightness; syncope; near syncope; paroxysmal nocturnal dyspnea; claudication; exertional fatigue;"
    " irregular heartbeat; jaw pain; diaphoresis; skipped beats; racing heart; leg swelling",
    "pulmonology": "shortness of breath; cough; wheezing; hemoptysis; productive cough; dyspnea; pleuritic chest pain;"
    " sputum production; respiratory distress; snoring; nocturnal cough; breathlessness; stridor; air hunger;"
    " increased work of breathing; noisy breathing; dry cough; chest congestion",
    "gastroenterology": "abdominal pain; nausea; vomiting; diarrhea; melena; constipation; hematochezia; heartburn;"
    " jaundice; dysphagia; bloating; epigastric pain; rectal bleeding; early satiety; hematemesis; loose stools;"
    " abdominal distention; belching; coffee ground emesis; anorexia",
    "neurology": "headache; dizziness; numbness; weakness; tremor; blurred vision; gait instability; vertigo;"
    " slurred speech; facial droop; tingling; memory loss; double vision; word finding difficulty; confusion;"
    " neck stiffness; loss of consciousness; left sided weakness; photophobia; ataxia",
    "oncology": "weight loss; night sweats; breast lump; bone pain; easy bruising; painless swelling; cachexia;"
    " early fatigue; enlarged lymph nodes; neck mass; poor appetite; loss of energy; changing mole;"
    " unintentional weight loss; hot flashes; mucosal bleeding; back pain at night; nipple retraction",
    "orthopedics": "knee pain; low back pain; hip pain; joint swelling; shoulder pain; stiffness; neck pain;"
    " ankle swelling; joint locking; limping; muscle spasm; wrist pain; difficulty bearing weight; heel pain;"
    " decreased range of motion; elbow pain; morning stiffness; shin pain; muscle cramps; foot drop",
    "nephrology": "flank pain; hematuria; oliguria; urinary frequency; foamy urine; decreased urine output; dysuria;"
    " nocturia; urinary retention; generalized swelling; urinary urgency; dark urine; itching; uremic frost;"
    " periorbital puffiness; gross hematuria; anuria; weak urinary stream",
    "endocrinology": "polyuria; polydipsia; fatigue; heat intolerance; cold intolerance; weight gain; hair loss;"
    " excessive thirst; sweating episodes; shakiness; dry skin; flushing; galactorrhea; irregular menses; hirsutism;"
    " salt craving; neck fullness; easy tiring; proximal muscle weakness; brittle nails",
    "infectious disease": "fever; chills; rigors; malaise; sore throat; purulent discharge; myalgias; rash; erythema;"
    " swollen glands; wound drainage; ear pain; sinus congestion; body aches; draining ulcer; warmth; odynophagia;"
    " low grade fevers; spreading redness; shaking chills",
    "psychiatry": "insomnia; low mood; anxiety; suicidal ideation; panic attacks; agitation; hallucinations; anhedonia;"
    " irritability; racing thoughts; poor concentration; tearfulness; nightmares; restlessness; paranoia; apathy;"
    " pressured speech; hopelessness; flashbacks; social withdrawal",
}

_DISEASES = {
    "cardiology": "hypertension; coronary artery disease; atrial fibrillation; congestive heart failure;"
    " myocardial infarction; aortic stenosis; mitral regurgitation; heart failure; cardiomyopathy; hyperlipidemia;"
    " peripheral vascular disease; heart block; pericarditis; unstable angina; deep venous thrombosis;"
    " ventricular tachycardia; pericardial effusion; aortic dissection; endocarditis; supraventricular tachycardia;"
    " carotid stenosis; sick sinus syndrome; atrial flutter; mitral valve prolapse; tamponade; <root>myopathy;"
    " <root>sclerosis; <root>megaly; <root>spasm",
    "pulmonology": "asthma; chronic obstructive pulmonary disease; pneumonia; pulmonary embolism; pleural effusion;"
    " bronchitis; obstructive sleep apnea; emphysema; pulmonary fibrosis; respiratory failure; pneumothorax;"
    " pulmonary hypertension; bronchiectasis; atelectasis; sarcoidosis; aspiration pneumonia;"
    " interstitial lung disease;"
    " croup; bronchiolitis; acute respiratory distress syndrome; empyema; hypoxia; <root>malacia; <root>itis;"
    " <root>stenosis; <root>osis",
    "gastroenterology": "gastroesophageal reflux disease; cirrhosis; gastrointestinal bleeding; pancreatitis;"
    " diverticulitis; peptic ulcer disease; crohn's disease; ulcerative colitis; cholecystitis; cholelithiasis;"
    " small bowel obstruction; hepatitis; appendicitis; gastritis; irritable bowel syndrome; esophageal varices;"
    " hemorrhoids; ascites; celiac disease; hepatic encephalopathy; cholangitis; ileus; gastroparesis; hiatal hernia;"
    " <root>itis; <root>cele; <root>stasis; <root>lithiasis",
    "neurology": "stroke; seizure disorder; migraine; multiple sclerosis; parkinson's disease; dementia;"
    " transient ischemic attack; epilepsy; subdural hematoma; peripheral neuropathy; meningitis; bell's palsy;"
    " myasthenia gravis; guillain barre syndrome; hydrocephalus; intracranial hemorrhage; alzheimer's disease;"
    " trigeminal neuralgia; amyotrophic lateral sclerosis; cerebral aneurysm; encephalopathy; cerebral palsy;"
    " huntington's disease; <root>itis; <root>pathy; <root>algia; <root>plegia",
    "oncology": "breast cancer; lung cancer; colon cancer; prostate cancer; lymphoma; metastatic disease; leukemia;"
    " multiple myeloma; melanoma; ovarian cancer; pancreatic cancer; hepatocellular carcinoma; brain metastases;"
    " renal cell carcinoma; bladder cancer; glioblastoma; neutropenia; thyroid cancer; sarcoma; esophageal cancer;"
    " hodgkin's disease; endometrial cancer; tumor lysis syndrome; squamous cell carcinoma; myelodysplastic syndrome;"
    " <root>oma; <root>sarcoma; <root>blastoma; <root>carcinoma",
    "orthopedics": "osteoarthritis; rheumatoid arthritis; hip fracture; osteoporosis; rotator cuff tear; gout;"
    " lumbar stenosis; degenerative joint disease; meniscal tear; carpal tunnel syndrome; scoliosis; herniated disc;"
    " compression fracture; wrist fracture; osteomyelitis; tendinitis; plantar fasciitis; avascular necrosis;"
    " ankle sprain; bursitis; fibromyalgia; femoral neck fracture; clubfoot; ligament rupture; ankylosing spondylitis;"
    " <root>itis; <root>osis; <root>malacia; <root>dystrophy",
    "nephrology": "chronic kidney disease; acute renal failure; end stage renal disease; urinary tract infection;"
    " nephrolithiasis; hyperkalemia; benign prostatic hypertrophy; hydronephrosis; nephrotic syndrome;"
    " pyelonephritis; polycystic kidney disease; glomerulonephritis; hyponatremia; metabolic acidosis;"
    " renal artery stenosis; acute tubular necrosis; urinary incontinence; neurogenic bladder; cystitis; proteinuria;"
    " lupus nephritis; interstitial nephritis; ureteral obstruction; <root>itis; <root>lithiasis; <root>ptosis;"
    " <root>sclerosis",
    "endocrinology": "diabetes mellitus; hypothyroidism; type 2 diabetes; diabetic ketoacidosis; hyperthyroidism;"
    " hypoglycemia; obesity; adrenal insufficiency; graves' disease; hyperparathyroidism; hypercalcemia; goiter;"
    " cushing's syndrome; metabolic syndrome; pituitary adenoma; diabetes insipidus; acromegaly;"
    " hashimoto's thyroiditis;"
    " vitamin d deficiency; thyroid nodule; addison's disease; thyroid storm; hyperglycemia; pheochromocytoma;"
    " <root>itis; <root>megaly; <root>penia; <root>osis",
    "infectious disease": "cellulitis; sepsis; hiv infection; tuberculosis; bacteremia; septic shock; influenza;"
    " herpes zoster; lyme disease; sinusitis; otitis media; pneumocystis pneumonia; abscess; malaria; mononucleosis;"
    " clostridium difficile colitis; pharyngitis; candidiasis; septic arthritis; necrotizing fasciitis; syphilis;"
    " cytomegalovirus infection; toxoplasmosis; wound infection; urosepsis; strep throat; viral syndrome;"
    " <root>osis; <root>iasis; <root>emia; <root>mycosis",
    "psychiatry": "depression; bipolar disorder; schizophrenia; alcohol abuse; generalized anxiety disorder;"
    " substance abuse; post traumatic stress disorder; delirium; panic disorder; alcohol withdrawal; psychosis;"
    " attention deficit disorder; anorexia nervosa; borderline personality disorder; opioid dependence; mania;"
    " obsessive compulsive disorder; drug overdose; schizoaffective disorder; postpartum depression; autism;"
    " cocaine abuse; bulimia; catatonia; <root>phobia; <root>thymia; <root>mania; <root>phrenia",
}

_SITES = {
    "cardiology": "left ventricle; aortic valve; coronary arteries; mitral valve; left atrium; pericardium; aorta;"
    " right ventricle; calf; left main; septum; ankles; femoral artery; aortic root; carotid artery",
    "pulmonology": "right lower lobe; left lung; lung bases; right upper lobe; pleural space; bronchus; trachea;"
    " left lower lobe; lung apex; chest wall; mediastinum; larynx; hemithorax; middle lobe",
    "gastroenterology": "right upper quadrant; epigastrium; liver; pancreas; colon; gallbladder; duodenum; stomach;"
    " left lower quadrant; bowel; esophagus; rectum; common bile duct; terminal ileum; cecum; sigmoid",
    "neurology": "left arm; brain; cervical spine; right hemisphere; basal ganglia; cerebellum; frontal lobe; face;"
    " brainstem; spinal cord; temporal lobe; thalamus; occipital lobe; ventricles; optic nerve",
    "oncology": "breast; right axilla; liver; neck; lung; adrenal gland; bone marrow; scalp; spine; ovary; pelvis;"
    " retroperitoneum; mesentery; supraclavicular fossa; prostate",
    "orthopedics": "left knee; right hip; lumbar spine; right shoulder; ankle; wrist; femur; elbow; tibia; left foot;"
    " humerus; great toe; cervical spine; distal radius; patella; fibula",
    "nephrology": "left kidney; bladder; right ureter; renal pelvis; prostate; right kidney; urethra; flank; scrotum;"
    " collecting system; renal cortex; testicle; legs; transplanted kidney",
    "endocrinology": "thyroid; right thyroid lobe; pituitary; adrenal gland; neck; feet; parathyroid; pancreas;"
    " thyroid isthmus; sella; left adrenal; orbits; toes",
    "infectious disease": "left leg; right foot; throat; sacrum; surgical site; hand; groin; sinuses;"
    " middle ear; scalp;"
    " right forearm; tonsils; buttock; perineum; catheter site; lower leg",
    "psychiatry": "scalp; forearms; hands; legs; jaw; shoulders; wrists; face",
}

_LESIONS = {
    "cardiology": "stenosis; thrombus; calcification; hypertrophy; dilatation; aneurysm; hypokinesis; vegetation;"
    " ischemia; plaque; occlusion; murmur; edema",
    "pulmonology": "infiltrate; opacity; consolidation; effusion; nodule; crackles; rales; rhonchi; collapse; scarring;"
    " air trapping; mass; congestion; cavity",
    "gastroenterology": "tenderness; ulcer; polyp; inflammation; stricture; fat stranding; wall thickening; guarding;"
    " dilatation; free fluid; mass; bleeding; perforation; fistula",
    "neurology": "infarct; hemorrhage; lesion; atrophy; enhancement; mass effect; edema; hematoma; weakness; numbness;"
    " demyelination; shift; paresthesias",
    "oncology": "mass; metastasis; nodule; tumor; lesion; adenopathy; recurrence; lump; uptake; invasion; necrosis;"
    " lymph node enlargement; malignancy",
    "orthopedics": "fracture; swelling; effusion; tear; tenderness; deformity; dislocation; crepitus; stiffness; spur;"
    " joint space narrowing; contracture; pain; sprain",
    "nephrology": "stone; cyst; obstruction; hydronephrosis; atrophy; mass; tenderness; scarring; dilatation; edema;"
    " reflux; bleeding; debris",
    "endocrinology": "nodule; enlargement; adenoma; mass; ulcer; swelling; goiter; hyperplasia; bruit; cyst; atrophy;"
    " numbness; fullness",
    "infectious disease": "abscess; erythema; ulcer; drainage; induration; warmth; discharge; swelling; vesicles; rash;"
    " fluid collection; exudate; necrosis; cellulitis",
    "psychiatry": "tremor; lacerations; scratches; tension; tingling; rash; scars; twitching; numbness; bruises",
}

_DRUGS = {
    "cardiology": "aspirin; metoprolol; lisinopril; furosemide; warfarin; atorvastatin; clopidogrel; amiodarone; lasix;"
    " digoxin; carvedilol; nitroglycerin; heparin; amlodipine; coumadin; diltiazem; simvastatin; lovenox; hydralazine;"
    " losartan; plavix; apixaban; spironolactone; isosorbide mononitrate; dobutamine; <drug.root>olol; <drug.root>pril;"
    " <drug.root>sartan; <drug.root>statin; <drug.root>dipine; <drug.root>grel",
    "pulmonology": "albuterol; prednisone; oxygen; azithromycin; fluticasone; ipratropium; montelukast; nebulizers;"
    " tiotropium; solumedrol; theophylline; guaifenesin; budesonide; bronchodilators; cpap; steroids; combivent;"
    " bipap; salmeterol; inhaled corticosteroids; <drug.root>terol; <drug.root>sonide; <drug.root>tropium;"
    " <drug.root>lukast",
    "gastroenterology": "omeprazole; pantoprazole; lactulose; metoclopramide; ondansetron; ranitidine; mesalamine;"
    " octreotide; docusate; senna; zofran; bowel rest; famotidine; ursodiol; rifaximin; tpn; sucralfate; loperamide;"
    " infliximab; tube feeds; clear liquid diet; nadolol; <drug.root>prazole; <drug.root>tidine; <drug.root>setron",
    "neurology": "phenytoin; levetiracetam; gabapentin; keppra; dilantin; morphine sulfate; sumatriptan; tpa;"
    " levodopa; topiramate; carbamazepine; donepezil; valproate; mannitol; baclofen; phenobarbital; nimodipine;"
    " interferon beta; plasmapheresis; ivig; pyridostigmine; lamotrigine; <drug.root>triptan; <drug.root>racetam;"
    " <drug.root>gabalin",
    "oncology": "chemotherapy; radiation therapy; tamoxifen; carboplatin; paclitaxel; cisplatin; rituximab; neupogen;"
    " cyclophosphamide; doxorubicin; letrozole; fluorouracil; blood transfusions; bevacizumab; dexamethasone;"
    " vincristine; methotrexate; imatinib; gemcitabine; whole brain radiation; leuprolide; trastuzumab;"
    " palliative care; <drug.root>tinib; <drug.root>mab; <drug.root>platin; <drug.root>rubicin; <drug.root>taxel",
    "orthopedics": "ibuprofen; oxycodone; percocet; physical therapy; acetaminophen; naproxen; tylenol; knee brace;"
    " allopurinol; colchicine; alendronate; celecoxib; splinting; hydrocodone; cyclobenzaprine; sling; ice;"
    " indomethacin; crutches; cast; steroid injections; toradol; traction; meloxicam; <drug.root>coxib;"
    " <drug.root>dronate; <drug.root>profen",
    "nephrology": "hemodialysis; kayexalate; tamsulosin; epoetin; sevelamer; ciprofloxacin; bumetanide; iv fluids;"
    " sodium bicarbonate; finasteride; tacrolimus; calcium acetate; peritoneal dialysis; bactrim; cellcept; calcitriol;"
    " foley catheter; oxybutynin; cyclosporine; fluid restriction; nitrofurantoin; renagel; dialysis;"
    " <drug.root>losin; <drug.root>steride; <drug.root>limus",
    "endocrinology": "insulin; metformin; levothyroxine; glipizide; lantus; synthroid; glyburide; hydrocortisone;"
    " methimazole; insulin drip; dextrose; propylthiouracil; pioglitazone; fludrocortisone; cinacalcet; glargine;"
    " radioactive iodine; diabetic diet; sitagliptin; novolog; desmopressin; bromocriptine; <drug.root>gliptin;"
    " <drug.root>glitazone; <drug.root>tide; <drug.root>gliflozin",
    "infectious disease": "vancomycin; ceftriaxone; antibiotics; levofloxacin; clindamycin; cefazolin; metronidazole;"
    " amoxicillin; zosyn; acyclovir; fluconazole; gentamicin; doxycycline; augmentin; keflex; linezolid; unasyn;"
    " wound care; cefepime; oseltamivir; isoniazid; highly active antiretroviral therapy; amphotericin;"
    " local wound packing; <drug.root>cillin; <drug.root>mycin; <drug.root>floxacin; <drug.root>conazole;"
    " <drug.root>vir; cef<drug.root>",
    "psychiatry": "sertraline; lorazepam; lithium; haloperidol; fluoxetine; ativan; quetiapine; citalopram; trazodone;"
    " risperidone; cognitive behavioral therapy; olanzapine; zyprexa; bupropion; methadone; klonopin;"
    " electroconvulsive therapy; thiamine; group therapy; clozapine; buspirone; psychotherapy; naltrexone;"
    " <drug.root>oxetine; <drug.root>peridone; <drug.root>azepam; <drug.root>zodone",
}

_PROCEDURES = {
    "cardiology": "coronary artery bypass grafting; pacemaker placement; stent placement; cardioversion;"
    " aortic valve replacement; angioplasty; intubation; mitral valve repair; ablation; bypass surgery;"
    " intra-aortic balloon pump; carotid endarterectomy; icd placement; cardiac rehabilitation; <root>plasty;"
    " <root>tomy; <root>pexy",
    "pulmonology": "intubation; mechanical ventilation; chest tube placement; lobectomy; tracheostomy; pleurodesis;"
    " chest physiotherapy; lung transplantation; wedge resection; decortication; pulmonary rehabilitation; extubation;"
    " <root>plasty; <root>ectomy; <root>stomy",
    "gastroenterology": "cholecystectomy; appendectomy; colectomy; banding; polypectomy; hernia repair;"
    " nasogastric decompression; liver transplant; gastric bypass; exploratory laparotomy; bowel resection;"
    " sphincterotomy; colostomy; fundoplication; peg tube; <root>ectomy; <root>stomy; <root>plasty; <root>rraphy",
    "neurology": "craniotomy; thrombolysis; ventriculoperitoneal shunting; aneurysm clipping; thrombectomy;"
    " deep brain stimulation; burr hole evacuation; coiling; decompressive laminectomy; nerve block; speech therapy;"
    " ventriculostomy; <root>tomy; <root>plasty; <root>lysis",
    "oncology": "mastectomy; lumpectomy; stem cell transplantation; wide local excision; prostatectomy; hysterectomy;"
    " port placement; axillary dissection; debulking surgery; radical nephrectomy; bone marrow transplant;"
    " tumor resection; whipple procedure; cryoablation; <root>ectomy; <root>lysis",
    "orthopedics": "total knee replacement; open reduction and internal fixation; hip replacement; casting;"
    " spinal fusion; rotator cuff repair; closed reduction; acl reconstruction; laminectomy; arthroplasty; amputation;"
    " meniscectomy; hardware removal; bone grafting; epidural injection; <root>plasty; <root>desis; <root>tomy",
    "nephrology": "renal transplantation; lithotripsy; ureteral stent placement; fistula placement; nephrostomy;"
    " transurethral resection; straight catheterization; nephrectomy; circumcision; bladder irrigation;"
    " percutaneous drainage; dialysis catheter; <root>ectomy; <root>stomy; <root>pexy",
    "endocrinology": "thyroidectomy; parathyroidectomy; gastric banding; adrenalectomy; toe amputation;"
    " radioiodine ablation; transsphenoidal resection; bariatric surgery; laser photocoagulation; insulin pump;"
    " diabetes education; <root>ectomy; <root>tomy",
    "infectious disease": "incision and drainage; debridement; line removal; irrigation; amputation; tonsillectomy;"
    " skin grafting; isolation; picc line; washout; abscess drainage; vaccination; fasciotomy; packing; <root>tomy",
    "psychiatry": "inpatient admission; detoxification; counseling; seclusion; restraints; family therapy;"
    " gastric lavage;"
    " activated charcoal; vocational rehabilitation; light therapy; transcranial magnetic stimulation",
}

_EXAMINATIONS = {
    "cardiology": "echocardiogram; electrocardiogram; stress test; chest x-ray; cardiac catheterization; ekg;"
    " holter monitor; transesophageal echocardiogram; telemetry; carotid ultrasound; blood pressure; heart rate;"
    " cardiac mri; tilt table test; ejection fraction; coronary angiography; 12-lead ecg; thallium scan;"
    " ankle brachial index; <root>graphy; <root>gram",
    "pulmonology": "chest x-ray; chest ct; pulmonary function tests; bronchoscopy; oxygen saturation; peak flow;"
    " arterial blood gas; ventilation perfusion scan; sleep study; respiratory rate; spirometry; sputum culture;"
    " thoracentesis; ct angiogram; pulse oximetry; methacholine challenge; <root>scopy; <root>metry; <root>graphy",
    "gastroenterology": "abdominal ct; colonoscopy; endoscopy; abdominal ultrasound; liver function tests; egd;"
    " stool culture; hida scan; stool guaiac; barium swallow; ercp; kub; paracentesis; liver biopsy;"
    " gastric emptying study; hepatitis panel; capsule study; mrcp; <root>scopy; <root>graphy; <root>gram",
    "neurology": "head ct; brain mri; lumbar puncture; eeg; neurologic exam; carotid doppler; mental status;"
    " nerve conduction study; mra; emg; visual fields; cerebral angiogram; deep tendon reflexes; romberg test;"
    " csf analysis; mini mental status exam; strength; <root>graphy; <root>gram; <root>metry",
    "oncology": "biopsy; pet scan; mammogram; bone scan; bone marrow biopsy; ct of the chest; pathology;"
    " frozen section;"
    " tumor markers; fine needle aspiration; staging ct; flow cytometry; immunohistochemistry; skeletal survey;"
    " genetic testing; breast ultrasound; receptor status; <root>graphy; <root>scopy",
    "orthopedics": "x-ray; mri of the knee; plain films; bone density scan; range of motion; ct of the spine;"
    " straight leg raise; joint aspiration; radiographs; hip films; lachman test; mcmurray test; grip strength;"
    " gait evaluation; arthroscopy; synovial fluid analysis; <root>scopy; <root>graphy; <root>metry",
    "nephrology": "renal ultrasound; urinalysis; urine culture; cystoscopy; renal biopsy; urine output; ct urogram;"
    " 24 hour urine collection; urine sediment; bladder scan; postvoid residual; intravenous pyelogram; urine sodium;"
    " renal scan; creatinine clearance; <root>graphy; <root>gram; <root>scopy",
    "endocrinology": "fingersticks; thyroid ultrasound; thyroid function tests; cosyntropin stimulation test;"
    " glucose tolerance test; thyroid scan; fundoscopic exam; bone density scan; pituitary mri; foot exam;"
    " dexamethasone suppression test; body mass index; home glucose monitoring; <root>graphy; <root>gram",
    "infectious disease": "blood cultures; temperature; wound culture; chest x-ray; gram stain; hiv test; rapid strep;"
    " viral load; urine culture; ppd; lumbar puncture; tagged white cell scan; throat culture; influenza swab;"
    " sensitivities; monospot; quantiferon; bone scan; <root>scopy; <root>gram",
    "psychiatry": "toxicology screen; mental status exam; blood alcohol level; psychological testing;"
    " urine drug screen;"
    " depression screening; cognitive testing; neuropsychological testing; mood questionnaire; suicide risk assessment;"
    " serum osmolality; attention testing",
}

_ANALYTES = {
    "cardiology": "troponin; ck-mb; cholesterol; inr; digoxin; bnp; potassium; ldl; triglycerides; ptt; magnesium;"
    " prothrombin time; creatine kinase; heparin; homocysteine",
    "pulmonology": "oxygen; pco2; bicarbonate; lactate; d-dimer; theophylline; po2; ige; eosinophils; ace;"
    " alpha-1 antitrypsin",
    "gastroenterology": "bilirubin; alt; ast; lipase; amylase; albumin; ammonia; alkaline phosphatase; total bilirubin;"
    " hematocrit; iron; inr; zinc; gastrin",
    "neurology": "phenytoin; ammonia; vitamin b12; sodium; valproate; carbamazepine; esr; csf protein; glucose;"
    " phenobarbital; rpr; csf glucose",
    "oncology": "white count; platelets; cea; hemoglobin; ca-125; psa; ldh; hematocrit; absolute neutrophil count;"
    " calcium; uric acid; afp; folate; iron; methotrexate; beta-2 microglobulin",
    "orthopedics": "uric acid; sed rate; crp; calcium; vitamin d; rheumatoid factor; hematocrit; esr; phosphate; inr;"
    " alkaline phosphatase; ana",
    "nephrology": "creatinine; bun; potassium; sodium; phosphorus; bicarbonate; tacrolimus; calcium; albumin;"
    " cyclosporine; magnesium; anion gap; hemoglobin; ferritin; iron; urine protein; erythropoietin; pth",
    "endocrinology": "glucose; tsh; hemoglobin a1c; free t4; insulin; calcium; cortisol; blood sugar; pth; vitamin d;"
    " potassium; testosterone; prolactin; phosphate; thyroxine; c-peptide; estradiol; growth hormone",
    "infectious disease": "white blood cell count; vancomycin; cd4 count; lactate; gentamicin; procalcitonin; crp;"
    " wbc; bands; esr; creatinine; platelets; cryptococcal antigen; galactomannan",
    "psychiatry": "lithium; ethanol; tsh; valproate; vitamin b12; acetaminophen; salicylate; folate; sodium; clozapine;"
    " thiamine; glucose; magnesium",
}

_ROOTS = {
    "cardiology": "cardio; angio; arterio; phlebo; aorto; valvulo; athero; pericardio; thrombo; vaso; atrio;"
    " ventriculo",
    "pulmonology": "broncho; pneumo; pleuro; laryngo; tracheo; thoraco; rhino; spiro; alveolo; phreno; bronchiolo",
    "gastroenterology": "gastro; entero; colo; hepato; cholecysto; procto; esophago; jejuno; ileo; pyloro; duodeno;"
    " sigmoido; choledocho; pancreato; herni; omento",
    "neurology": "encephalo; neuro; myelo; cranio; meningo; cerebello; radiculo; cerebro; gangli; ventriculo;"
    " polyneuro;"
    " rachi; thalamo; cortico",
    "oncology": "lympho; adeno; osteo; lipo; fibro; angio; glio; lymphangio; hemangio; chondro; leio; rhabdomyo; thymo;"
    " mesothelio; neuro; retino; melano",
    "orthopedics": "arthro; osteo; chondro; myo; spondylo; tendo; tenosyno; costo; coxo; carpo; tibio; synovio;"
    " acromio; patello; lamin; fascio",
    "nephrology": "nephro; cysto; uretero; pyelo; prostato; urethro; reno; glomerulo; vesico; orchio; ureteropyelo;"
    " calico; balano",
    "endocrinology": "thyro; adreno; parathyro; pancreato; hypophyso; insulino; gluco; adenohypophyso; gonado; lipo;"
    " thymo; ovario; glyco",
    "infectious disease": "myco; bacter; adeno; vir; dermato; sino; tonsillo; cutaneo; borreli; histoplasm; aspergill;"
    " strongyloid; toxoplasm; leishmani; brucell; candid",
    "psychiatry": "agora; cyclo; dys; klepto; hypo; schizo; acro; claustro; pyro; hebe; mono; tricho; noso; oneiro",
}

_DRUG_STEMS = (
    "vel bor tam cal ras lin mer sol dar pan zel nor fas tri ben gal tor ximi lor pra cef dox vin rol mun ket plen"
    " quin sar tev wol yor zan brex clo den elt fim gra hal iso jur kal"
)
_DRUG_MIDDLES = "o i e ora ami ive ani olu era ito ude axi emo ipi"

# Substances that are measured (test) and also given (treatment): the sentence decides.
_DUAL_ANALYTES = (
    "potassium; magnesium; glucose; calcium; iron; insulin; digoxin; albumin; vancomycin; phosphate; oxygen; sodium;"
    " vitamin d; bicarbonate; phenytoin; lithium; vitamin b12; folate; tacrolimus; cortisol; heparin; testosterone;"
    " theophylline; gentamicin; valproate; cyclosporine; zinc; thyroxine; carbamazepine; erythropoietin; estradiol;"
    " acetaminophen; phenobarbital; fibrinogen; progesterone; methotrexate; thiamine; clozapine; amikacin; selenium"
)

# Procedures that diagnose (test) and also relieve (treatment).
_DUAL_PROCEDURES = (
    "biopsy; cardiac catheterization; bronchoscopy; colonoscopy; endoscopy; paracentesis; thoracentesis;"
    " lumbar puncture; ercp; cystoscopy; laparoscopy; arthroscopy; angiography; egd; joint aspiration;"
    " pericardiocentesis; mediastinoscopy; hysteroscopy; surgical exploration; needle aspiration; thoracoscopy;"
    " ureteroscopy; laryngoscopy; arthrocentesis; sigmoidoscopy; amniocentesis; venography; dilatation; culdocentesis"
)


def _entries(text: str) -> list[str]:
    return [entry.strip() for entry in text.split(";")]


def _formed(entry: str, specialty: str) -> str:
    """Point a word-forming entry at its rule; Greek stems take ``o`` before a consonant (gastritis, gastropathy)."""
    entry = re.sub(r"<drug\.root>(?=[aeiou])", "<drug.stem>", entry)
    return re.sub(r"<root>(?=([aeiou])?)", lambda m: f"<root.{specialty}>" + ("" if m[1] else "o"), entry)


def _lexicon() -> dict[str, list[str]]:
    by_specialty = {
        "symptom": _SYMPTOMS,
        "disease": _DISEASES,
        "site": _SITES,
        "lesion": _LESIONS,
        "drug": _DRUGS,
        "procedure": _PROCEDURES,
        "examination": _EXAMINATIONS,
        "analyte": _ANALYTES,
    }
    rules = {
        f"{kind}.{specialty}": [_formed(entry, specialty) for entry in _entries(terms)]
        for kind, lists in by_specialty.items()
        for specialty, terms in lists.items()
    }
    rules |= {
        f"root.{specialty}": [stem.removesuffix("o") for stem in _entries(stems)] for specialty, stems in _ROOTS.items()
    }
    rules |= {f"specialty.{specialty}": [specialty] for specialty in SPECIALTIES}
    rules["drug.root"] = ["<drug.stem><drug.middle>"]
    rules["drug.stem"] = _DRUG_STEMS.split()
    rules["drug.middle"] = _DRUG_MIDDLES.split()
    rules["dual.analyte"] = _entries(_DUAL_ANALYTES)
    rules["dual.procedure"] = _entries(_DUAL_PROCEDURES)
    return rules


LEXICON = _lexicon()
